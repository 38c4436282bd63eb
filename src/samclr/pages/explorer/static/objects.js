// With vectors: the objects most like one, and a map of all of them in the plane.

import { $, ask, el, fault, latest, number, percent, state } from "./page.js";

const SHOWN = 24;
const MOST_CHOSEN = 60;

/** An object as a picture that opens its scene. */
function card(one, text, title) {
  const made = el("button", { type: "button", title },
    el("img", { src: `/object/${one.row}`, alt: "", loading: "lazy", decoding: "async" }), el("span", { textContent: text }));
  made.addEventListener("click", () => state.set({ scene: one.scene, region: one.region, map: null, step: null }, true));
  return made;
}

export class Similar {
  constructor(start) {
    this.has = start.has_vectors;
    this.refresh = latest(() => this.#refresh());
    $("close-similar").addEventListener("click", () => state.set({ region: null }));
  }

  async #refresh() {
    const [scene, region] = [state.get("scene"), state.get("region")];
    $("similar").hidden = !this.has || scene === null || region === null;
    if ($("similar").hidden) return;
    $("similar-title").textContent = `Most like region ${region}, over all scenes`;
    try {
      const found = await ask(`/api/similar/${encodeURIComponent(scene)}`, { region, count: SHOWN });
      if (region !== state.get("region") || scene !== state.get("scene")) return;
      fault($("similar-fault"), found.why_not ? new Error(found.why_not) : null);
      $("similar-rows").replaceChildren(...found.rows.map((one) => card(one, one.similarity.toFixed(3), `${one.id}, region ${one.region}`)));
    } catch (error) {
      fault($("similar-fault"), error);
    }
  }
}

export class ObjectMap {
  #points = null;
  #lasso = [];
  #chosen = new Set();
  #hovered = -1;

  constructor(start) {
    $("open-map").hidden = !start.has_vectors;
    this.has = start.has_vectors;
    this.canvas = $("points");
    this.refresh = latest(() => this.#refresh());
    $("open-map").addEventListener("click", () => state.set({ map: "pca", scene: null, region: null, step: null }, true));
    $("close-map").addEventListener("click", () => state.set({ map: null }, true));
    $("method").addEventListener("change", () => state.set({ map: $("method").value }));
    this.canvas.addEventListener("pointerdown", (event) => this.#down(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    this.canvas.addEventListener("pointerup", () => this.#up());
    this.canvas.addEventListener("pointerleave", () => this.#hover(-1));
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  async #refresh() {
    const method = state.get("map");
    if (method === null || !this.has) return;
    $("method").value = method;
    $("map-about").textContent = method === "umap" ? "UMAP takes a while the first time ..." : "";
    try {
      const found = await ask("/api/map", { method });
      if (method !== state.get("map")) return;
      fault($("map-fault"), null);
      this.#points = { ...found, count: found.x.length };
      this.#chosen.clear();
      this.#showChosen();
      const part = found.x.length < found.total ? `a sample of ${number(found.x.length)} of ` : "";
      $("map-about").textContent = `Each point is an object: ${part}${number(found.total)} regions with a vector. ` +
        (method === "pca" ? "The axes are the two directions in which they differ most." : "Near points are alike.");
      this.#draw();
    } catch (error) {
      this.#points = null;
      $("map-about").textContent = "";
      fault($("map-fault"), error);
      this.#draw();
    }
    document.body.dataset.map = `${method} ${this.#points?.count ?? 0}`; // for tests
  }

  #place(k) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const { x, y, side } = this.#points;
    return [10 + (x[k] / side) * (width - 20), 10 + (1 - y[k] / side) * (height - 20)];
  }

  #draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    Object.assign(canvas, { width: canvas.clientWidth * ratio, height: canvas.clientHeight * ratio });
    if (!this.#points || !canvas.width) return;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const [mark, soft] = ["--mark", "--soft"].map((name) => style.getPropertyValue(name).trim());
    for (const chosen of [false, true]) {
      context.fillStyle = chosen ? mark : soft;
      context.globalAlpha = chosen ? 0.9 : 0.45;
      for (let k = 0; k < this.#points.count; k++) {
        if (this.#chosen.has(k) !== chosen) continue;
        const [x, y] = this.#place(k);
        context.fillRect(x - 1.5, y - 1.5, 3, 3);
      }
    }
    context.globalAlpha = 1;
    context.strokeStyle = mark;
    context.lineWidth = 2;
    if (this.#hovered >= 0) {
      const [x, y] = this.#place(this.#hovered);
      context.strokeRect(x - 4, y - 4, 8, 8);
    }
    if (this.#lasso.length > 1) {
      context.beginPath();
      this.#lasso.forEach(([x, y]) => context.lineTo(x, y));
      context.stroke();
    }
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #nearest([x, y]) {
    let [best, least] = [-1, 14 ** 2];
    for (let k = 0; k < (this.#points?.count ?? 0); k++) {
      const [px, py] = this.#place(k);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [k, distance];
    }
    return best;
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.#lasso = [this.#at(event)];
  }

  #move(event) {
    const at = this.#at(event);
    if (this.#lasso.length) {
      this.#lasso.push(at);
      this.#draw();
    } else this.#hover(this.#nearest(at), at);
  }

  #up() {
    const lasso = this.#lasso;
    this.#lasso = [];
    if (!this.#points || !lasso.length) return;
    const [xs, ys] = [lasso.map((at) => at[0]), lasso.map((at) => at[1])];
    const isClick = Math.max(...xs) - Math.min(...xs) < 6 && Math.max(...ys) - Math.min(...ys) < 6;
    if (isClick) {
      const k = this.#nearest(lasso[0]);
      if (k >= 0) state.set({ scene: this.#points.scene[k], region: this.#points.region[k], map: null, step: null }, true);
      return;
    }
    this.#chosen.clear();
    for (let k = 0; k < this.#points.count; k++) if (inside(this.#place(k), lasso)) this.#chosen.add(k);
    this.#showChosen();
    this.#draw();
  }

  #hover(k, at) {
    if (k === this.#hovered && k < 0) return;
    this.#hovered = k;
    const picture = $("hovered");
    picture.hidden = k < 0;
    if (k >= 0) {
      const source = `/object/${this.#points.row[k]}`;
      if (!picture.src.endsWith(source)) picture.src = source;
      picture.style.left = `${Math.min(at[0] + 14, this.canvas.clientWidth - 116)}px`;
      picture.style.top = `${Math.max(4, Math.min(at[1] + 14, this.canvas.clientHeight - 116))}px`;
    }
    this.#draw();
  }

  #showChosen() {
    const chosen = [...this.#chosen];
    const { row, scene, region, count } = this.#points;
    $("chosen-about").textContent = chosen.length
      ? `${number(chosen.length)} objects, ${percent(chosen.length / count)} of the points` +
        (chosen.length > MOST_CHOSEN ? `; ${MOST_CHOSEN} of them are shown.` : ".")
      : "Draw around some points to see their pictures; click one to open its scene.";
    const step = Math.max(1, chosen.length / MOST_CHOSEN);
    const shown = Array.from({ length: Math.min(chosen.length, MOST_CHOSEN) }, (_, k) => chosen[Math.floor(k * step)]);
    $("chosen").replaceChildren(...shown.map((k) =>
      card({ row: row[k], scene: scene[k], region: region[k] }, `scene ${scene[k]}`, `scene ${scene[k]}, region ${region[k]}`)));
  }
}

/** Whether a point lies in a polygon: rays cross its sides an odd number of times. */
function inside([x, y], polygon) {
  let is = false;
  for (let k = 0, before = polygon.length - 1; k < polygon.length; before = k++) {
    const [[x0, y0], [x1, y1]] = [polygon[k], polygon[before]];
    if (y0 > y !== y1 > y && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) is = !is;
  }
  return is;
}
