// The page: all scenes, or one of them, beside the filter. What is shown is what the address says.

import { $, ask, fault, number, state } from "./page.js";
import { CHOICE, Grid } from "./grid.js";
import { FILTER, Filter } from "./filter.js";
import { Features } from "./features.js";
import { ObjectMap, Similar } from "./objects.js";
import { OneScene } from "./scene.js";
import { VIEWS, Views } from "./views.js";

const REST_MS = 250;

async function begin() {
  const start = await ask("/api/start", {});
  const texts = [start.name, `${number(start.num_scenes)} scenes`];
  if (start.has_regions) texts.push(`${number(start.num_regions)} regions by ${start.maker.segmenter ?? "import"}`);
  if (start.has_run) texts.push(`run of ${start.recipe}`);
  if (start.num_errors) texts.push(`${number(start.num_errors)} failed`);
  if (!start.has_bank) texts.push("no bank: pictures are decoded one by one");
  $("about").textContent = texts.join(" · ");
  document.title = `${start.name} - samclr explore`;
  for (const id of ["with-masks", "with-dropped", "with-boxes"]) {
    const word = state.get(id.slice(5));
    if (word !== null) $(id).checked = word === "true";
  }
  const filter = new Filter(start, (kept) => scene.setKept(kept));
  const grid = new Grid(() => filter.words(), start);
  const scene = new OneScene(() => grid.words(), () => views.refresh());
  const views = new Views(start, () => filter.words(), (boxes) => scene.mark(boxes));

  const similar = new Similar(start);
  const map = new ObjectMap(start);
  const features = new Features(start);
  let resting = 0; // views follow when the filter's sliders rest, so that these answer at once

  function showSection() {
    const isOpen = scene.isOpen;
    const isMap = !isOpen && start.has_vectors && state.get("map") !== null;
    const place = scene.place;
    $("scene").hidden = !isOpen;
    $("map").hidden = !isMap;
    $("scenes").hidden = isOpen || isMap;
    if (isOpen || isMap) return;
    document.title = `${start.name} - samclr explore`;
    if (place !== null) grid.scrollTo(place);
  }

  state.listen((changed) => {
    const any = (names) => names.some((name) => changed.has(name));
    if (any(["scene", "map"])) showSection();
    if (any(["scene", "region"])) similar.refresh();
    if (any(["scene", "features"])) features.refresh();
    if (changed.has("map")) map.refresh();
    if (changed.has("map") && !$("scenes").hidden) grid.refresh(true);
    if (any(FILTER)) filter.showValues();
    if (any(FILTER) || changed.has("scene")) filter.refresh();
    if (any(CHOICE)) grid.showChoice();
    if (!scene.isOpen && (any(CHOICE) || any(FILTER) || changed.has("scene"))) grid.refresh(!any(CHOICE));
    if (changed.has("scene") || (scene.isOpen && any(CHOICE))) scene.load();
    if (any(VIEWS)) views.showValues();
    if (!scene.isOpen) return;
    if (any(VIEWS) || changed.has("step")) views.refresh();
    else if (any(FILTER)) {
      clearTimeout(resting);
      resting = setTimeout(() => views.refresh(), REST_MS);
    }
  });
  const close = () => state.set({ scene: null, step: null, region: null, map: null }, true);
  $("home").addEventListener("click", close);
  $("back").addEventListener("click", close);
  const openFilter = (isOpen) => {
    $("side").classList.toggle("is-open", isOpen);
    $("open-filter").setAttribute("aria-expanded", String(isOpen));
  };
  $("open-filter").addEventListener("click", () => openFilter(!$("side").classList.contains("is-open")));
  $("close-filter").addEventListener("click", () => openFilter(false));
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "Escape") close();
    if (!scene.isOpen) return;
    if (event.key === "ArrowLeft" || event.key === "k") scene.step("previous");
    if (event.key === "ArrowRight" || event.key === "j") scene.step("next");
  });
  showSection();
  filter.refresh();
  similar.refresh();
  features.refresh();
  map.refresh();
  await (scene.isOpen ? scene.load() : grid.refresh());
  document.body.dataset.ready = "true";
}

begin().catch((error) => {
  $("about").textContent = error.message;
});
