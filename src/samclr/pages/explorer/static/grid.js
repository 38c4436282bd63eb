// The grid of all scenes: as many cards as fit, wherever one scrolls.

import { $, ask, el, number, state } from "./page.js";

const PAGE = 120; // scenes asked for at a time
const TALLEST = 8_000_000; // px; browsers draw no taller element, beyond it a pixel scrolls further
const GAP = 10;
const ASK_AGAIN_MS = 700; // while near-duplicates are looked for
export const CHOICE = ["sort", "show", "least", "name"];

export class Grid {
  #filter;
  #pages = new Map();
  #cards = new Map();
  #total = 0;
  #version = 0;
  #isWorking = false;

  /** filter: gives the words of the address that are the filter's. */
  constructor(filter, start) {
    this.#filter = filter;
    this.pane = $("pane");
    this.hasRegions = start.has_regions;
    for (const option of document.querySelectorAll("option.of-regions")) option.disabled = !start.has_regions;
    for (const option of document.querySelectorAll("option.of-duplicates")) option.disabled = !start.has_duplicates;
    for (const name of CHOICE) {
      const field = $(name);
      field.addEventListener(name === "name" ? "input" : "change", () =>
        state.set({ [name]: field.value === (name === "sort" ? "name" : name === "show" ? "all" : "") ? null : field.value }));
    }
    $("choice").addEventListener("submit", (event) => event.preventDefault());
    this.pane.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(this.pane);
    $("grid").addEventListener("keydown", (event) => this.#key(event));
    this.showChoice();
  }

  showChoice() {
    $("sort").value = state.get("sort") ?? "name";
    $("show").value = state.get("show") ?? "all";
    if ($("name").value !== (state.get("name") ?? "")) $("name").value = state.get("name") ?? "";
    $("least").value = state.get("least") ?? "50";
    $("least-field").hidden = $("show").value !== "many";
  }

  words() {
    return { ...this.#filter(), ...state.some(CHOICE) };
  }

  /** Ask anew. stay: the same scenes in the same order, whose counts may differ. */
  async refresh(stay = false) {
    const version = ++this.#version;
    if (!stay) this.pane.scrollTop = 0;
    this.#pages.clear();
    try {
      await this.#load(this.#firstShown(), version);
    } catch (error) {
      if (version === this.#version) $("total").textContent = error.message;
    }
  }

  scrollTo(place) {
    const { columns, height } = this.#sizes();
    const row = Math.floor(place / columns);
    const whole = this.#tall();
    const target = row * height * whole.ratio;
    const at = this.pane.scrollTop;
    if (target < at || target + height > at + this.pane.clientHeight) this.pane.scrollTop = Math.max(0, target - height);
  }

  #sizes() {
    const style = getComputedStyle(this.pane);
    const width = this.pane.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const columns = Math.max(2, Math.floor((width + GAP) / (width < 500 ? 150 : 190)));
    const side = (width - GAP * (columns - 1)) / columns;
    const picture = Math.round(side * 0.72);
    return { columns, side, picture, height: picture + 50 + GAP };
  }

  #tall() {
    const { columns, height } = this.#sizes();
    const full = Math.ceil(this.#total / columns) * height;
    const shown = Math.min(full, TALLEST);
    const room = Math.max(1, this.pane.clientHeight);
    return { full, shown, ratio: full > shown ? (shown - room) / (full - room) : 1 };
  }

  #firstShown() {
    const { columns, height } = this.#sizes();
    return Math.max(0, Math.floor(this.pane.scrollTop / this.#tall().ratio / height)) * columns;
  }

  async #load(first, version) {
    const page = Math.floor(first / PAGE);
    if (this.#pages.has(page)) return;
    this.#pages.set(page, null);
    const answer = await ask("/api/scenes", { ...this.words(), first: page * PAGE, count: PAGE });
    if (version !== this.#version) return;
    this.#total = answer.total;
    this.#pages.set(page, answer.rows);
    $("total").textContent = `${number(answer.total)} ${answer.total === 1 ? "scene" : "scenes"}`;
    this.#tell(answer.duplicates, version);
    this.#draw();
  }

  /** What is known of near-duplicates; asks again while they are looked for. */
  #tell(about, version) {
    const place = $("duplicates");
    place.hidden = !about;
    place.textContent = about?.text ?? "";
    place.classList.toggle("fault", about?.state === "failed");
    this.#isWorking = about?.state === "working";
    if (this.#isWorking) setTimeout(() => version === this.#version && !$("scenes").hidden && this.refresh(true), ASK_AGAIN_MS);
  }

  #draw() {
    if ($("scenes").hidden) return;
    const { columns, side, picture, height } = this.#sizes();
    const { shown, ratio } = this.#tall();
    const grid = $("grid");
    grid.style.height = `${shown}px`;
    const top = this.pane.scrollTop;
    const from = Math.max(0, Math.floor(top / ratio / height) - 1);
    const to = Math.ceil((top / ratio + this.pane.clientHeight) / height) + 1;
    const wanted = new Map();
    const version = this.#version;
    for (let place = from * columns; place < Math.min(to * columns, this.#total); place++) {
      const rows = this.#pages.get(Math.floor(place / PAGE));
      if (rows === undefined) this.#load(place, version).catch((error) => ($("total").textContent = error.message));
      const row = rows?.[place % PAGE];
      if (row) wanted.set(place, row);
    }
    for (const [place, card] of this.#cards) {
      if (wanted.get(place)?.number === card.number) continue;
      card.whole.remove();
      this.#cards.delete(place);
    }
    for (const [place, row] of wanted) {
      let card = this.#cards.get(place);
      if (!card) {
        card = this.#card(row, place);
        this.#cards.set(place, card);
        grid.append(card.whole);
      }
      this.#fill(card, row);
      const y = Math.floor(place / columns) * height - top / ratio + top;
      Object.assign(card.whole.style, { left: `${(place % columns) * (side + GAP)}px`, top: `${y}px`, width: `${side}px` });
      card.picture.style.height = `${picture}px`;
    }
    this.#order(grid);
    let nothing = $("nothing");
    if (this.#total === 0 && this.#pages.size && !nothing && !this.#isWorking) grid.append(el("p", { id: "nothing", textContent: "No scene fits." }));
    if (this.#total > 0 || this.#isWorking) nothing?.remove();
  }

  /** Cards stand in the document as they stand on the page, for the tab key and for readers. */
  #order(grid) {
    const places = [...this.#cards.keys()].sort((a, b) => a - b);
    places.forEach((place, k) => {
      const whole = this.#cards.get(place).whole;
      if (grid.children[k] !== whole) grid.insertBefore(whole, grid.children[k] ?? null);
    });
  }

  #card(row, place) {
    const picture = el("img", { alt: "", src: `/thumb/${row.number}`, decoding: "async" });
    picture.addEventListener("error", () => picture.removeAttribute("src"));
    const facts = el("span", { className: "facts" });
    const whole = el("button", { type: "button", className: "card" }, picture,
      el("span", { className: "id" }, el("bdi", { textContent: row.id })), facts);
    whole.dataset.place = place;
    whole.addEventListener("click", () => state.set({ scene: row.number, region: null }, true));
    return { whole, picture, facts, number: row.number };
  }

  #fill(card, row) {
    const size = row.width ? `${row.width}×${row.height} px` : "";
    const counts = row.regions === undefined ? "" : `${number(row.kept)} of ${number(row.regions)} regions`;
    const bySize = ["largest", "smallest"].includes(state.get("sort"));
    const group = row.group === undefined ? "" : row.is_kept ? `group ${row.group + 1}, to keep` : `group ${row.group + 1}`;
    const usual = row.error ?? ((bySize ? size : counts) || size);
    const text = !group ? usual : row.error ? `${group}; ${row.error}` : group;
    card.whole.title = [row.id, row.error ?? counts, size].filter(Boolean).join("\n");
    if (card.facts.textContent !== text) card.facts.textContent = text;
    card.facts.classList.toggle("fault", row.error !== null);
    card.whole.classList.toggle("current", state.get("scene") === String(row.number));
  }

  #key(event) {
    const place = Number(event.target.dataset?.place);
    const { columns } = this.#sizes();
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step === undefined || Number.isNaN(place)) return;
    event.preventDefault();
    this.scrollTo(place + step);
    this.#draw();
    this.#cards.get(place + step)?.whole.focus({ preventScroll: true });
  }
}
