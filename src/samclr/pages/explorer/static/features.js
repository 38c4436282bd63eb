// With a run: patch features of the open scene as colours, before training and after.

import { $, fault, state } from "./page.js";

export class Features {
  constructor(start) {
    this.has = start.has_run;
    $("with-features").addEventListener("change", () => state.set({ features: $("with-features").checked ? "true" : null }));
    for (const moment of ["before", "after"])
      $(`features-${moment}`).addEventListener("error", (event) => this.#why(event.target));
  }

  refresh() {
    const scene = state.get("scene");
    $("features").hidden = !this.has || scene === null;
    const isShown = !$("features").hidden && state.get("features") === "true";
    $("with-features").checked = isShown;
    $("features-pair").hidden = !isShown;
    fault($("features-fault"), null);
    for (const moment of ["before", "after"]) {
      const picture = $(`features-${moment}`);
      if (isShown) picture.src = `/features/${encodeURIComponent(scene)}/${moment}`;
      else picture.removeAttribute("src");
    }
  }

  /** Why a picture cannot be had. */
  async #why(picture) {
    if (!picture.src) return;
    const answer = await fetch(picture.src).then((one) => one.json()).catch(() => ({}));
    if (answer.error) fault($("features-fault"), new Error(answer.error));
  }
}
