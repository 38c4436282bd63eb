// Masks from COCO's compressed run lengths: painted into a buffer that holds the smallest region of each pixel.

/** The runs of a mask, down the columns: outside, inside, outside ... */
export function readRuns(rle) {
  const runs = [];
  let place = 0;
  while (place < rle.length) {
    let value = 0;
    let factor = 1;
    let code;
    do {
      code = rle.charCodeAt(place++) - 48;
      value += (code & 31) * factor;
      factor *= 32;
    } while (code & 32);
    if (code & 16) value -= factor;
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

export class Labels {
  /** Of an image of width x height pixels, sampled down so that its longer side has at most `most` of them. */
  constructor(width, height, most = 1400) {
    const scale = Math.min(1, most / Math.max(width, height));
    this.width = Math.max(1, Math.round(width * scale));
    this.height = Math.max(1, Math.round(height * scale));
    this.imageHeight = height;
    this.scale = { x: this.width / width, y: this.height / height };
    this.data = new Int32Array(this.width * this.height);
    this.columns = new Int32Array(width).fill(-1); // the buffer's column that shows a column of the image
    for (let x = 0; x < this.width; x++) this.columns[Math.floor((x + 0.5) / this.scale.x)] = x;
    this.rows = new Int32Array(height + 1); // the first of the buffer's rows that shows this row or a later one
    let y = 0;
    for (let row = 0; row <= height; row++) {
      while (y < this.height && Math.floor((y + 0.5) / this.scale.y) < row) y++;
      this.rows[row] = y;
    }
  }

  clear() {
    this.data.fill(0);
  }

  /** Paint a mask with a label; labels begin with 1. */
  paint(runs, label) {
    let end = 0;
    for (let k = 0; k < runs.length; k++) {
      let begin = end;
      end += runs[k];
      if (k % 2 === 0) continue;
      while (begin < end) {
        const column = Math.floor(begin / this.imageHeight);
        const top = begin - column * this.imageHeight;
        const bottom = Math.min(end - column * this.imageHeight, this.imageHeight);
        begin = column * this.imageHeight + bottom;
        const x = this.columns[column];
        if (x < 0) continue;
        for (let y = this.rows[top]; y < this.rows[bottom]; y++) this.data[y * this.width + x] = label;
      }
    }
  }

  at(x, y) {
    return this.data[Math.min(y, this.height - 1) * this.width + Math.min(x, this.width - 1)];
  }
}
