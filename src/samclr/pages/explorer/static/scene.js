// One scene: its picture, its regions drawn from run lengths, and what lies under the pointer.

import { $, ask, el, fault, latest, number, percent, state } from "./page.js";
import { Labels, readRuns } from "./masks.js";

const COLOURS = [[230, 80, 60], [60, 140, 230], [70, 180, 90], [240, 170, 40], [160, 90, 210], [40, 190, 190], [235, 110, 170]];
const DROPPED = [128, 128, 128];

export class OneScene {
  #scene = null;
  #labels = null;
  #kept = new Map(); // of regions that the filter keeps: their padded boxes
  #pointed = 0;
  #marks = []; // boxes of the views that are pointed at
  #frame = 0;

  /** words: the filter's and the grid's. onOpen: told when another scene is there. */
  constructor(words, onOpen) {
    this.words = words;
    this.onOpen = onOpen;
    this.canvas = $("masks");
    this.load = latest(() => this.#load());
    for (const id of ["with-masks", "with-dropped", "with-boxes"])
      $(id).addEventListener("change", () => {
        state.set({ [id.slice(5)]: $(id).checked === $(id).defaultChecked ? null : String($(id).checked) });
        this.#paint();
      });
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerdown", (event) => this.#point(event));
    this.canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.#tell(0));
    this.canvas.addEventListener("click", () => {
      const one = this.shown?.[this.#pointed - 1];
      if (one) state.set({ region: one.region });
    });
    $("previous").addEventListener("click", () => this.step("previous"));
    $("next").addEventListener("click", () => this.step("next"));
    new ResizeObserver(() => this.#fit()).observe($("scene"));
  }

  get isOpen() {
    return state.get("scene") !== null;
  }

  step(where) {
    const to = this.#scene?.[where];
    if (to !== null && to !== undefined) state.set({ scene: to, step: null, region: null });
  }

  get place() {
    return this.#scene?.place ?? null;
  }

  /** What the filter leaves, as the server says. */
  setKept(kept) {
    this.#kept = new Map(kept ? kept.regions.map((region, k) => [region, kept.boxes[k]]) : []);
    if (!this.#scene) return;
    const total = this.#scene.regions?.total;
    $("scene-count").textContent = total === undefined ? "" :
      `This scene: the filter keeps ${number(this.#kept.size)} of ${number(total)} regions.`;
    this.#paint();
  }

  /** Boxes to draw above all: [x0, y0, x1, y1] with a colour each. */
  mark(boxes) {
    this.#marks = boxes;
    this.#draw();
  }

  async #load() {
    const scene = state.get("scene");
    if (scene === null) {
      this.#scene = null;
      $("scene-count").textContent = "";
      return;
    }
    try {
      const found = await ask(`/api/scene/${encodeURIComponent(scene)}`, this.words());
      if (scene !== state.get("scene")) return;
      this.#show(found);
    } catch (error) {
      $("title").textContent = "";
      fault($("fault"), error);
    }
  }

  #show(scene) {
    const isNew = this.#scene?.number !== scene.number;
    this.#scene = scene;
    $("title").textContent = scene.id;
    document.title = `${scene.id} - samclr explore`;
    const drawn = scene.regions?.drawn.length ?? 0;
    const left = (scene.regions?.total ?? 0) - drawn;
    $("place").textContent = [scene.place === null ? "not in this choice" : `${number(scene.place + 1)} of ${number(scene.total)}`,
      scene.width ? `${scene.width}×${scene.height} px` : "", left > 0 ? `${number(left)} small regions are not drawn` : ""]
      .filter(Boolean).join(" · ");
    $("previous").disabled = scene.previous === null;
    $("next").disabled = scene.next === null;
    fault($("fault"), scene.error === null ? null : new Error(scene.error));
    if (isNew) {
      this.#pointed = 0;
      this.#marks = [];
      $("told").textContent = scene.regions && drawn ? "Point at a region, or tap it." : "";
      const photo = $("photo");
      photo.alt = scene.id;
      photo.onload = () => {
        if (!scene.width) Object.assign(scene, { width: photo.naturalWidth, height: photo.naturalHeight });
        this.#fit();
      };
      photo.onerror = async () => {
        $("stage").hidden = true;
        const answer = await fetch(`/picture/${scene.number}`).then((one) => one.json()).catch(() => ({}));
        if (answer.error && this.#scene === scene) fault($("fault"), new Error(answer.error));
      };
      $("stage").hidden = false;
      photo.src = `/picture/${scene.number}`;
      this.#labels = scene.regions && scene.width ? new Labels(scene.width, scene.height) : null;
      for (const one of scene.regions?.drawn ?? []) one.runs = readRuns(one.rle);
    }
    $("drawn").hidden = !scene.regions;
    this.#fit();
    this.setKept(scene.kept);
    if (isNew) this.onOpen(scene);
  }

  #fit() {
    const photo = $("photo");
    const { width, height } = this.#scene ?? {};
    if (!width) return;
    const room = { width: $("scene").clientWidth - 32, height: Math.max(220, innerHeight * 0.64) };
    const scale = Math.min(room.width / width, room.height / height, 4);
    photo.style.width = `${Math.round(width * scale)}px`;
    photo.style.height = `${Math.round(height * scale)}px`;
  }

  #paint() {
    const labels = this.#labels;
    if (!labels || !this.#scene) {
      this.canvas.width = this.canvas.width;
      return;
    }
    labels.clear();
    this.shown = [];
    if ($("with-masks").checked)
      for (const one of this.#scene.regions.drawn) {
        const kept = this.#kept.has(one.region);
        if (!kept && !$("with-dropped").checked) continue;
        const colour = kept ? COLOURS[one.region % COLOURS.length] : DROPPED;
        this.shown.push({ ...one, kept, colour });
        labels.paint(one.runs, this.shown.length);
      }
    this.#pointed = 0;
    this.#draw();
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#drawNow());
  }

  #drawNow() {
    const labels = this.#labels;
    if (!labels) return;
    const { width, height, data } = labels;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    const pixels = new ImageData(width, height);
    const out = new Uint32Array(pixels.data.buffer);
    const packed = (alpha) => [0, ...this.shown.map(({ colour: [r, g, b] }) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0)];
    const [inner, edge, lit] = [packed(84), packed(255), packed(150)];
    for (let y = 0, k = 0; y < height; y++)
      for (let x = 0; x < width; x++, k++) {
        const label = data[k];
        if (!label) continue;
        const isEdge = x === 0 || y === 0 || x === width - 1 || y === height - 1 || data[k - 1] !== label
          || data[k + 1] !== label || data[k - width] !== label || data[k + width] !== label;
        out[k] = isEdge ? edge[label] : label === this.#pointed ? lit[label] : inner[label];
      }
    context.putImageData(pixels, 0, 0);
    const line = Math.max(1, width / Math.max(1, $("photo").clientWidth));
    const box = ([x0, y0, x1, y1], colour, dash) => {
      const { x, y } = labels.scale;
      context.setLineDash(dash.map((one) => one * line));
      context.lineWidth = 2 * line;
      context.strokeStyle = colour;
      context.strokeRect(x0 * x, y0 * y, (x1 - x0) * x, (y1 - y0) * y);
    };
    const pointed = this.shown[this.#pointed - 1];
    for (const one of $("with-boxes").checked ? this.shown : pointed ? [pointed] : [])
      if (this.#kept.has(one.region)) box(this.#kept.get(one.region), `rgb(${one.colour})`, [6, 4]);
    for (const mark of this.#marks) box(mark.box, mark.colour, mark.dash);
    this.canvas.dataset.drawn = this.shown.length; // for tests
  }

  #point(event) {
    const labels = this.#labels;
    if (!labels) return;
    const at = this.canvas.getBoundingClientRect();
    const find = (dx, dy) => {
      const x = Math.floor(((event.clientX + dx - at.left) / at.width) * labels.width);
      const y = Math.floor(((event.clientY + dy - at.top) / at.height) * labels.height);
      return x < 0 || y < 0 || x >= labels.width || y >= labels.height ? 0 : labels.at(x, y);
    };
    const around = event.pointerType === "touch" ? [[0, 0], [8, 0], [-8, 0], [0, 8], [0, -8]] : [[0, 0]]; // a finger is wide
    this.#tell(around.map(([dx, dy]) => find(dx, dy)).find(Boolean) ?? 0);
  }

  #tell(label) {
    if (label === this.#pointed) return;
    this.#pointed = label;
    const one = this.shown?.[label - 1];
    $("told").textContent = one ? this.#text(one) : "Point at a region, or tap it.";
    this.#draw();
  }

  #text(one) {
    const [x0, y0, x1, y1] = one.box;
    const share = one.area / (this.#scene.width * this.#scene.height);
    const texts = [`region ${one.region}${one.kept ? "" : " (dropped)"}: ${number(one.area)} px, ${percent(share, 2)} of the image`,
      `box ${x1 - x0}×${y1 - y0} at ${x0}, ${y0}`];
    if (one.predicted_iou !== null) texts.push(`predicted IoU ${one.predicted_iou.toFixed(3)}`);
    if (one.stability_score !== null) texts.push(`stability ${one.stability_score.toFixed(3)}`);
    return texts.join(" · ");
  }
}
