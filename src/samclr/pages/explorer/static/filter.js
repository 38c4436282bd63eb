// The filter: sliders, what they leave of the open scene and of the whole set, and the options to type.

import { $, ask, copyable, el, fault, latest, number, percent, state } from "./page.js";

const LOG = (least, most) => ({
  most: 1000,
  from: (at) => (at === 0 ? 0 : least * (most / least) ** ((at - 1) / 999)),
  to: (value) => (value <= 0 ? 0 : Math.max(1, Math.min(1000, 1 + (999 * Math.log(value / least)) / Math.log(most / least)))),
});
const LINEAR = (least, most) => ({
  most: 1000,
  from: (at) => least + ((most - least) * at) / 1000,
  to: (value) => Math.max(0, Math.min(1000, (1000 * (value - least)) / (most - least))),
});
const rounded = (value) => Number(value.toPrecision(2));
const SLIDERS = {
  min_area_px: { title: "Smallest area, px", scale: LOG(10, 1e6), round: (v) => Math.round(rounded(v)), step: 1, least: 0, most: 1e9,
    help: "Regions with fewer pixels are dropped." },
  min_area_frac: { title: "Smallest share of the image", scale: LOG(1e-5, 1), round: rounded, step: "any", least: 0, most: 1,
    help: "Likewise, for sets of mixed sizes." },
  max_area_frac: { title: "Largest share of the image", scale: LOG(1e-3, 1), round: rounded, step: "any", least: 0, most: 1,
    help: "Larger regions are dropped first; 1 keeps all." },
  containment_frac: { title: "Containment", scale: LINEAR(0, 1), round: (v) => Math.round(v * 100) / 100, step: "any", least: 0, most: 1,
    help: "Regions with more of their area than this inside a larger one are dropped." },
  padding: { title: "Padding of boxes", scale: LINEAR(0.5, 3), round: (v) => Math.round(v * 20) / 20, step: "any", least: 0.01, most: 1000,
    help: "Views are cropped from a region's box, made larger by this factor." },
  min_box_px: { title: "Smallest padded box, px", scale: LINEAR(0, 512), round: Math.round, step: 1, least: 0, most: 65535,
    help: "Regions whose padded box is shorter on its shorter side are dropped." },
};
const HISTOGRAMS = {
  area: ["Area, share of the image", "0.001 %", "100 %"],
  count: ["Regions an image", "0", "320 and more"],
  predicted_iou: ["Predicted IoU", "0.5 and less", "1"],
  stability_score: ["Stability score", "0.5 and less", "1"],
};
export const FILTER = Object.keys(SLIDERS);

export class Filter {
  #usual;
  #fields = {};
  #histograms = {};
  #setOptions;
  #setCommand;

  /** onKept: told what the filter leaves of the open scene. */
  constructor(start, onKept) {
    this.#usual = start.sampling.filter;
    this.onKept = onKept;
    this.hasRegions = start.has_regions;
    this.bins = start.bins;
    $("no-regions").hidden = start.has_regions;
    if (start.has_regions) for (const name of FILTER) this.#slider(name);
    $("reset").addEventListener("click", () => state.set(Object.fromEntries(FILTER.map((name) => [name, null]))));
    this.#setOptions = copyable($("filter-command"), "Options, for samclr look and pretrain");
    this.#setCommand = copyable($("filter-command"), "The same as a page in a file");
    this.refresh = latest(() => this.#refresh());
    this.showValues();
  }

  words() {
    return state.some(FILTER);
  }

  showValues() {
    for (const [name, { range, field }] of Object.entries(this.#fields)) {
      const value = Number(state.get(name) ?? this.#usual[name]);
      if (document.activeElement !== field) field.value = value;
      if (document.activeElement !== range || SLIDERS[name].round(SLIDERS[name].scale.from(Number(range.value))) !== value)
        range.value = SLIDERS[name].scale.to(value);
    }
  }

  #slider(name) {
    const { title, scale, round, step, least, most, help } = SLIDERS[name];
    const range = el("input", { type: "range", min: 0, max: scale.most, id: `range-${name}` });
    const field = el("input", { type: "number", min: least, max: most, step, required: true, id: `field-${name}` });
    range.setAttribute("aria-label", title);
    const set = (value) => state.set({ [name]: value === this.#usual[name] ? null : value });
    range.addEventListener("input", () => set(round(scale.from(Number(range.value)))));
    field.addEventListener("input", () => {
      if (field.validity.valid) set(Number(field.value));
      else fault($("filter-fault"), new Error(`${title}: ${field.validationMessage}`));
    });
    this.#fields[name] = { range, field };
    $("sliders").append(el("div", { className: "slider" },
      el("div", { className: "head" }, el("label", { htmlFor: field.id, textContent: title }), field), range,
      el("p", { className: "help", textContent: help })));
  }

  async #refresh() {
    if (!this.hasRegions) return;
    const scene = state.get("scene");
    try {
      const answer = await ask("/api/filter", { ...this.words(), ...(scene === null ? {} : { scene }) });
      fault($("filter-fault"), null);
      this.#show(answer.set);
      if (scene === state.get("scene")) this.onKept(answer.scene);
      this.#setOptions(answer.options || "(the defaults)");
      this.#setCommand(answer.command);
      document.body.dataset.filtered = JSON.stringify(this.words()); // what stands on the page, for tests
    } catch (error) {
      fault($("filter-fault"), error);
    }
  }

  #show(set) {
    const kept = set.sample_regions ? 1 - set.sample_contained / set.sample_regions : 1;
    const left = number(Math.round(set.within_limits * kept));
    const dropped = number(set.sample_contained);
    $("set-left").textContent =
      `Whole set: ${set.sample_is_all ? "" : "about "}${left} of ${number(set.num_regions)} regions are kept.`;
    const sample = set.sample_is_all
      ? `The containment test drops ${dropped} of these.`
      : `The containment test drops ${percent(1 - kept)} of these, by a sample of ${number(set.sample_images)} images ` +
        `(${dropped} of ${number(set.sample_regions)} regions).`;
    $("set-count").textContent =
      `Of the whole set's ${number(set.num_images)} images: area drops ${number(set.dropped_by_area)} regions, the ` +
      `box ${number(set.dropped_by_size)}; ${number(set.within_limits)} are within these limits. ${sample} ` +
      `${number(set.images_without)} images have no region within the limits.`;
    for (const [name, bars] of Object.entries(set.histograms)) this.#histogram(name, bars);
  }

  #histogram(name, { before, after }) {
    const known = (this.#histograms[name] ??= this.#emptyHistogram(name, before.length));
    const most = Math.max(1, ...before, ...after);
    const last = Math.max(1, before.length - (name === "count" ? 1 : 0));
    for (let k = 0; k < last; k++) {
      const place = (rect, value) => {
        const height = value ? Math.max(0.6, (60 * value) / most) : 0;
        rect.setAttribute("y", 60 - height);
        rect.setAttribute("height", height);
      };
      const sum = (bars) => (name === "count" && k === last - 1 ? bars[k] + bars[k + 1] : bars[k]);
      place(known.before[k], sum(before));
      place(known.after[k], sum(after));
      known.texts[k].textContent = `${known.names[k]}: ${number(sum(after))} of ${number(sum(before))}`;
    }
  }

  #emptyHistogram(name, bins) {
    const make = (tag, attributes) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      return made;
    };
    const edges = this.bins[name] ?? this.bins.score;
    const num = Math.max(1, bins - (name === "count" ? 1 : 0));
    const width = 100 / num;
    const svg = make("svg", { viewBox: "0 0 100 60", preserveAspectRatio: "none", role: "img", "aria-label": HISTOGRAMS[name][0] });
    const known = { before: [], after: [], texts: [], names: [] };
    for (let k = 0; k < num; k++) {
      const [low, high] = [edges[k], edges[k + 1]];
      known.names.push(name === "area" ? `${percent(10 ** low, 3)} to ${percent(10 ** high, 3)}`
        : name === "count" ? (k === num - 1 ? `${low} and more` : high - low === 1 ? `${low}` : `${low} to ${high - 1}`)
        : `${low.toFixed(3)} to ${high.toFixed(3)}`);
      const group = make("g", {});
      for (const kind of ["before", "after"]) {
        const bar = make("rect", { class: kind, x: k * width + width * 0.08, width: width * 0.84, y: 60, height: 0 });
        known[kind].push(bar);
        group.append(bar);
      }
      const text = make("title", {});
      known.texts.push(text);
      group.append(text);
      svg.append(group);
    }
    const [title, low, high] = HISTOGRAMS[name];
    $("histograms").append(el("figure", { className: "histogram" },
      el("figcaption", { textContent: `${title}: within the limits, of all` }), svg,
      el("div", { className: "edge" }, el("span", { textContent: low }), el("span", { textContent: high }))));
    return known;
  }
}
