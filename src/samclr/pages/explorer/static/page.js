// What all parts of the page share: making elements, asking the server, and the state, which is the address.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; texts are texts, never markup. */
export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const number = (value) => value.toLocaleString("en");
export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

/** JSON of the server. Throws an Error with what the server said. */
export async function ask(path, parameters, signal) {
  let answer;
  try {
    answer = await fetch(`${path}?${new URLSearchParams(parameters)}`, { signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is samclr explore still running?");
  }
  const content = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

/** Runs `work` for the newest call only: while one runs, the last of those that came is kept. */
export function latest(work) {
  let running = false;
  let waiting = null;
  return async function run(...given) {
    if (running) {
      waiting = given;
      return;
    }
    running = true;
    try {
      await work(...given);
    } finally {
      running = false;
      if (waiting) {
        const next = waiting;
        waiting = null;
        run(...next);
      }
    }
  };
}

/** The state: words of the address. Whoever listens is told which of them changed. */
class State {
  #words = new URLSearchParams(location.search);
  #listeners = [];
  #later = 0;

  constructor() {
    addEventListener("popstate", () => {
      const before = this.#words;
      this.#words = new URLSearchParams(location.search);
      this.#tell(new Set([...before.keys(), ...this.#words.keys()].filter((k) => before.get(k) !== this.#words.get(k))));
    });
  }

  get(name) {
    return this.#words.get(name);
  }

  /** Those of some words that are there. */
  some(names) {
    return Object.fromEntries(names.filter((name) => this.#words.has(name)).map((name) => [name, this.get(name)]));
  }

  /** Change words; null takes one out. push: the browser's back button leads back to before. */
  set(changes, push = false) {
    const changed = new Set();
    for (const [name, value] of Object.entries(changes)) {
      if ((value === null ? null : String(value)) === this.get(name)) continue;
      changed.add(name);
      if (value === null) this.#words.delete(name);
      else this.#words.set(name, value);
    }
    if (!changed.size) return;
    clearTimeout(this.#later);
    const write = (how) => history[how](null, "", this.#words.size ? `/?${this.#words}` : "/");
    if (push) write("pushState");
    else this.#later = setTimeout(() => write("replaceState"), 150); // browsers limit how often
    this.#tell(changed);
  }

  listen(listener) {
    this.#listeners.push(listener);
  }

  #tell(changed) {
    for (const listener of this.#listeners) listener(changed);
  }
}

export const state = new State();

/** A text to copy, with a button. Returns the function that sets it. */
export function copyable(place, title) {
  const code = el("code");
  const button = el("button", { type: "button", textContent: "Copy" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      const range = document.createRange(); // no clipboard on addresses that are not this machine's
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1200);
  });
  const whole = el("div", { className: "copy" }, el("div", { className: "head" }, title, button), code);
  place.append(whole);
  return (text) => {
    code.textContent = text;
    whole.hidden = !text;
  };
}

export function fault(place, error) {
  place.hidden = !error;
  place.textContent = error ? error.message : "";
}
