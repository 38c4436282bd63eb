// The views that training makes of the open scene, with the settings of a run or edited.

import { $, ask, copyable, el, fault, latest, number, percent, state } from "./page.js";

const NUMBERS = {
  seed: { title: "seed", step: 1, most: 2 ** 53 - 1 },
  global_batch_size: { title: "images a step", step: 1, least: 1, most: 65536 },
  regions_per_image: { title: "regions an image", step: 1, least: 1, most: 64 },
  num_views: { title: "views", step: 1, least: 1, most: 16 },
  size_px: { title: "side, px", step: 1, least: 1, most: 512 },
  min_coverage: { title: "least cover by the mask", step: "any" },
  image_view_share: { title: "share of whole images", step: "any" },
  window_margin: { title: "margin of windows", step: "any", most: 1000 },
  background_mix_prob: { title: "share of mixed backgrounds", step: "any" },
  num_local_views: { title: "local views", step: 1, most: 16 },
  jitter_strength: { title: "strength of colours", step: "any", most: 2.5 },
};
const SWITCHES = { // augmentations: off is a share of 0
  flip_prob: "flip", jitter_prob: "colour jitter", grey_prob: "grey", blur_prob: "blur", solarise_prob: "solarise",
};
const STRATEGIES = { region: "one region", image: "the whole image", "random-box": "a random box of a region's size" };
const OTHERS = ["strategy", "crop_scale", "asymmetric", "redraw", "max_window_aspect", "coverage_tries"];
export const VIEWS = [...Object.keys(NUMBERS), ...Object.keys(SWITCHES), ...OTHERS];
const MARKS = ["#ffffff", "#ffd400", "#00e5ff", "#ff6bd6", "#9dff57", "#ff9d3c"];
const REST_MS = 800;
const JITTER = ["brightness", "contrast", "saturation"];

export class Views {
  #usual;
  #fields = {};
  #command;
  #steps = {};
  #asked = null;
  #askSet;
  #resting;

  /** words: the filter's. mark: draws boxes on the scene. */
  constructor(start, words, mark) {
    const { views, group, local, augment, seed, global_batch_size } = start.sampling;
    this.#usual = { ...views, ...group, ...local, ...augment, seed, global_batch_size };
    this.words = words;
    this.mark = mark;
    this.#controls(start.has_regions);
    this.#command = copyable($("views-command"), "Training on such views");
    this.refresh = latest(() => this.#refresh());
    this.#askSet = latest(() => this.#setShares());
    this.#resting = 0;
    $("step").addEventListener("change", () => $("step").reportValidity() && state.set({ step: $("step").value || null }));
    $("step-before").addEventListener("click", () => state.set({ step: this.#steps.previous_step }));
    $("step-after").addEventListener("click", () => state.set({ step: this.#steps.next_step }));
    this.showValues();
  }

  showValues() {
    const value = (name) => state.get(name) ?? this.#usual[name];
    for (const [name, field] of Object.entries(this.#fields)) {
      if (name in SWITCHES) field.checked = Number(value(name)) > 0;
      else if (name === "asymmetric") field.checked = String(value(name)) === "true";
      else if (name === "crop_scale") field.value = String(value(name)).split(",")[0];
      else if (document.activeElement !== field) field.value = value(name);
    }
  }

  #set(name, value) {
    state.set({ [name]: String(value) === String(this.#usual[name]) ? null : value });
  }

  #controls(hasRegions) {
    const group = (title, ...fields) =>
      $("views-controls").append(el("fieldset", {}, el("legend", { textContent: title }), ...fields));
    const field = (name, made, title) => {
      this.#fields[name] = made;
      made.id = `views-${name}`;
      return el("label", {}, ...(made.type === "checkbox" ? [made, ` ${title}`] : [`${title} `, made]));
    };
    const strategy = el("select", {}, ...Object.entries(STRATEGIES).map(([value, text]) =>
      el("option", { value, textContent: text, disabled: value !== "image" && !hasRegions })));
    strategy.addEventListener("change", () => this.#set("strategy", strategy.value));
    const numeric = (name) => {
      const { title, step, least = 0, most = 1 } = NUMBERS[name];
      const made = el("input", { type: "number", min: least, max: most, step, required: true });
      made.addEventListener("change", () => made.reportValidity() && this.#set(name, made.value));
      return field(name, made, title);
    };
    const smallest = el("input", { type: "number", min: 0.001, max: 1, step: "any", required: true });
    smallest.addEventListener("change", () => {
      if (!smallest.reportValidity()) return;
      const largest = String(state.get("crop_scale") ?? this.#usual.crop_scale).split(",")[1];
      this.#set("crop_scale", `${smallest.value},${largest}`);
    });
    group("Where views come from", field("strategy", strategy, "from"), ...["regions_per_image", "min_coverage",
      "image_view_share", "window_margin", "background_mix_prob"].map(numeric));
    group("Crops", ...["num_views", "size_px"].map(numeric), field("crop_scale", smallest, "smallest share of the window"),
      numeric("num_local_views"));
    const switches = Object.entries(SWITCHES).map(([name, title]) => {
      const made = el("input", { type: "checkbox" });
      made.addEventListener("change", () => this.#set(name, made.checked ? this.#usual[name] || 0.5 : 0));
      return field(name, made, title);
    });
    const asymmetric = el("input", { type: "checkbox" });
    asymmetric.addEventListener("change", () => this.#set("asymmetric", asymmetric.checked));
    group("Augmentation", ...switches, field("asymmetric", asymmetric, "asymmetric, as BYOL and DINO"), numeric("jitter_strength"));
    group("Draws", ...["seed", "global_batch_size"].map(numeric));
    const reset = el("button", { type: "button", textContent: "Reset" });
    reset.addEventListener("click", () => state.set(Object.fromEntries([...VIEWS, "step"].map((name) => [name, null]))));
    $("views-controls").append(reset);
  }

  async #refresh() {
    const scene = state.get("scene");
    if (scene === null) return;
    const words = { ...this.words(), ...state.some([...VIEWS, "step"]) };
    try {
      const found = await ask(`/api/views/${encodeURIComponent(scene)}`, words);
      if (scene !== state.get("scene")) return;
      fault($("views-fault"), found.why_not ? new Error(found.why_not) : null);
      this.#show(found);
      if (found.why_not) return;
      this.#showShares(await ask(`/api/shares/${encodeURIComponent(scene)}`, words));
      clearTimeout(this.#resting);
      this.#resting = setTimeout(() => this.#askSet(), REST_MS); // it counts for a second or two
    } catch (error) {
      fault($("views-fault"), error);
      $("rows").replaceChildren();
      $("shares").textContent = "";
      this.#clearSet();
    }
  }

  #show(found) {
    this.#steps = found;
    const has = !found.why_not;
    $("step-before").disabled = !has || found.previous_step === null;
    $("step-after").disabled = !has;
    this.#command(found.command ?? "");
    if (!has) {
      $("rows").replaceChildren();
      $("shares").textContent = $("visit").textContent = "";
      this.#clearSet();
      return;
    }
    if (document.activeElement !== $("step")) $("step").value = found.step;
    const asked = state.get("step");
    const moved = asked !== null && Number(asked) !== found.step ? `the first step from ${asked} on that shows this scene; ` : "";
    $("visit").textContent = `${moved}epoch ${found.epoch}` +
      (found.assumes_all_decode ? "; no bank yet, so that every scene is taken to decode" : "");
    $("rows").replaceChildren(...found.rows.map((row) => this.#row(row)));
  }

  #row(row) {
    const what = row.region === null ? "the whole image" : `region ${row.region}`;
    const shown = el("div", { className: "shown" }, ...row.views.map((view, k) => this.#view(view, k, row)));
    const whole = el("div", { className: "row", tabIndex: 0 },
      el("span", { className: "title", textContent: `${what}, row ${number(row.row)} of the batch` }), shown);
    const marks = [{ box: row.window, colour: MARKS[0], dash: [8, 5] },
      ...row.views.map((view, k) => ({ box: view.box, colour: MARKS[1 + (k % (MARKS.length - 1))], dash: [] }))];
    for (const name of ["pointerenter", "focus", "click"]) whole.addEventListener(name, () => this.mark(marks));
    for (const name of ["pointerleave", "blur"]) whole.addEventListener(name, () => this.mark([]));
    return whole;
  }

  #view(view, k, row) {
    const badges = [];
    if (view.role === "local") badges.push("local");
    if (view.enlarged) badges.push("enlarged");
    if (row.identical && view.role === "global") badges.push("identical boxes");
    if (view.crop_fallback) badges.push("central crop");
    const { colours } = view;
    const applied = [colours.flip && "flip", colours.jitter && "jitter", colours.grey && "grey",
      colours.blur_sigma > 0 && `blur ${colours.blur_sigma.toFixed(1)}`, colours.solarise && "solarise"].filter(Boolean);
    const [x0, y0, x1, y1] = view.box;
    const jitter = colours.jitter ? JITTER.map((name) => `${name} ${colours[name].toFixed(2)}`).join(", ") +
      `, hue ${colours.hue.toFixed(3)}` : "";
    const side = Math.max(64, Math.min(144, view.size_px));
    const image = el("img", { src: view.pixels, alt: `view ${k + 1}`, width: side, height: side, title: jitter });
    return el("figure", {}, image, el("figcaption", {},
      ...badges.map((text) => el("span", { className: "badge", textContent: text })),
      el("span", { textContent: [`${x1 - x0}×${y1 - y0} px`, view.cover === null ? "" : `mask ${percent(view.cover, 0)}`,
        ...applied].filter(Boolean).join(", ") })));
  }

  #showShares(found) {
    $("shares").textContent = `Over this and the next ${found.visits - 1} times that training sees this scene: ` +
      `${this.#counts(found)}`;
  }

  #counts(found) {
    const of = (count, total) => `${percent(total ? count / total : 0)} (${number(count)} of ${number(total)})`;
    const under = found.under_coverage === null ? "" :
      ` ${of(found.under_coverage, found.views)} keep less of the mask than asked for.`;
    return `${of(found.enlarged, found.views)} of the views are enlarged, ${of(found.identical, found.pairs)} of the rows show ` +
      `identical boxes, ${of(found.crop_fallback, found.views)} of the crops fall back to the central one, and ` +
      `${of(found.whole_image, found.pairs)} of the rows show the whole image.${under}`;
  }

  #clearSet() {
    this.#asked = null;
    $("set-shares").textContent = "";
  }

  /** Once a setting decides otherwise than before, which scene is open does not matter. */
  async #setShares() {
    const words = { ...this.words(), ...state.some(VIEWS) };
    const asked = JSON.stringify(words);
    if (asked === this.#asked) return;
    $("set-shares").textContent = "Whole set: counting ...";
    try {
      const found = await ask("/api/set-shares", words);
      this.#asked = asked;
      const isAll = found.scenes === found.of_scenes;
      const sample = isAll ? `each of its ${number(found.scenes)} scenes` : `by a sample of ${number(found.scenes)} of ` +
        `${number(found.of_scenes)} scenes (seed ${found.seed}), each`;
      const left = found.left_out ? ` ${number(found.left_out)} scenes of the sample cannot be used.` : "";
      $("set-shares").textContent = found.why_not ? "" :
        `Whole set, ${sample} as training first shows it: ${this.#counts(found)}${left}`;
    } catch (error) {
      this.#asked = null;
      $("set-shares").textContent = `Whole set: ${error.message}`;
    }
  }
}
