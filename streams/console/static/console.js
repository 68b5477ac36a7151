/**
 * Live updates, keyboard shortcuts and the theme. The pages work without it.
 *
 * @typedef {{id: string, state: string, is_final: boolean, step: ?string, error: ?string,
 *   due: ?string, received_at: string, url: ?string,
 *   title: ?string, command: ?{name: ?string, request_id: ?string}}} Row
 *   Fields of a request that the list shows; filters are among its other fields.
 */

const RECONNECT_MILLISECONDS = 10_000;

const REFRESH_MILLISECONDS = 5_000;

/** Parameters of the list that are no criteria for single requests. */
const OTHER_PARAMETERS = ["since", "limit", "after", "submitted"];

const byId = (/** @type {string} */ id) => document.getElementById(id);

/** Storage of this browser; without effect where it is disabled. */
const storage = {
  /** @param {string} name */
  get(name) {
    try {
      return localStorage.getItem(`clipmill.${name}`);
    } catch {
      return null;
    }
  },
  /** @param {string} name @param {string} value */
  set(name, value) {
    try {
      localStorage.setItem(`clipmill.${name}`, value);
    } catch {}
  },
};

/** The event stream: open while the page is visible and not paused, resumed by the last id. */
class Stream {
  #parameters;
  #handlers;
  #lastId;
  /** @type {?EventSource} */ #source = null;
  #timer = 0;
  isPaused = false;

  /**
   * @param {Record<string, string>} parameters
   * @param {string} after revision of the page
   * @param {Record<string, (data: any) => void>} handlers by name of the event
   */
  constructor(parameters, after, handlers) {
    this.#parameters = parameters;
    this.#lastId = after;
    this.#handlers = handlers;
    document.addEventListener("visibilitychange", () => this.update());
    // A page that the browser keeps for its back button must hold no connection.
    window.addEventListener("pagehide", () => this.#close());
    window.addEventListener("pageshow", () => this.update());
    this.update();
  }

  update() {
    if (document.hidden || this.isPaused) this.#close();
    else if (!this.#source) this.#open();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #open() {
    const query = new URLSearchParams({ ...this.#parameters, after: this.#lastId });
    const source = new EventSource(`api/v1/events?${query}`);
    for (const [name, handle] of Object.entries(this.#handlers)) {
      source.addEventListener(name, (event) => {
        this.#lastId = event.lastEventId || this.#lastId;
        handle(JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => {
      // The browser reconnects by itself, but not after an error status.
      if (source.readyState !== EventSource.CLOSED) return;
      this.#close();
      this.#timer = setTimeout(() => this.update(), RECONNECT_MILLISECONDS * (1 + Math.random()));
    });
    this.#source = source;
  }
}

/** @param {?string} moment RFC 3339 @returns {Node} */
function timeOf(moment) {
  if (!moment) return document.createTextNode("");
  const time = document.createElement("time");
  time.dateTime = moment;
  time.textContent = moment.slice(0, 19).replace("T", " ");
  return time;
}

/** @param {string} href @param {string} text */
function linkTo(href, text) {
  const link = document.createElement("a");
  link.href = href;
  link.textContent = text;
  return link;
}

/** @param {string} name @param {string} text @param {string} className */
function elementOf(name, text, className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}

/** The URL, or the rejected command; empty for a batch. @param {Row} row */
function subjectOf(row) {
  if (!row.command) return row.url ?? "";
  return ["rejected command:", row.command.name, row.command.request_id].filter(Boolean).join(" ");
}

/**
 * Show a request in a row of the list; what is unchanged keeps its nodes, and the focus.
 * @param {HTMLTableRowElement} line @param {Row} row
 */
function fill(line, row) {
  const state = elementOf("span", row.state, `state ${row.state}`);
  /** @type {Node[]} */
  const request = [linkTo(`request?${new URLSearchParams({ id: row.id })}`, row.id)];
  const subject = subjectOf(row);
  if (row.title || subject) request.push(document.createElement("br"));
  if (row.title) request.push(elementOf("bdi", row.title, "title"), document.createTextNode(" "));
  if (subject) request.push(elementOf("small", subject));
  const error = row.error
    ? linkTo(`./?${new URLSearchParams({ error: row.error })}`, row.error)
    : document.createTextNode("");
  /** @type {Record<string, Node[]>} */
  const fields = {
    received: [timeOf(row.received_at)],
    request,
    state: [state],
    step: [document.createTextNode(row.step ?? "")],
    error: [error],
    due: [timeOf(row.due)],
  };
  line.dataset.id = row.id;
  line.toggleAttribute("data-final", row.is_final);
  for (const cell of line.cells) {
    const nodes = fields[cell.dataset.field ?? ""];
    const text = nodes?.map((node) => node.textContent).join("");
    if (nodes && text !== cell.textContent) cell.replaceChildren(...nodes);
  }
}

/**
 * The list: rows change in place, new ones wait behind a button, or are those just submitted.
 * @param {HTMLElement} list
 */
function followList(list) {
  const body = /** @type {HTMLTableSectionElement} */ (list.querySelector("tbody"));
  const template = /** @type {HTMLTemplateElement} */ (byId("row"));
  const button = /** @type {HTMLButtonElement} */ (byId("new-requests"));
  const filters = [...new URLSearchParams(location.search)].filter(([, value]) => value.trim());
  const hasSubmitted = filters.some(([name]) => name === "submitted");
  const isFirstPage = !filters.some(([name]) => name === "after");
  const criteria = filters.filter(([name]) => !OTHER_PARAMETERS.includes(name));
  /** @type {Map<string, Row>} */
  const waiting = new Map();
  const limit = Number(list.dataset.limit);

  const matches = (/** @type {Record<string, any>} */ row) =>
    isFirstPage && criteria.every(([name, value]) => row[name] === value.trim());
  const lineOf = (/** @type {string} */ id) =>
    [...body.rows].find((line) => line.dataset.id === id);
  const newest = () => body.rows[0]?.querySelector("time")?.dateTime ?? "";
  const announce = () => {
    button.hidden = waiting.size === 0;
    button.textContent = `${waiting.size} new`;
  };
  const insert = () => {
    const rows = [...waiting.values()].sort((a, b) => (a.received_at < b.received_at ? -1 : 1));
    for (const row of rows) {
      const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
      const line = /** @type {HTMLTableRowElement} */ (copy.firstElementChild);
      fill(line, row);
      body.prepend(line);
    }
    while (body.rows.length > limit) body.deleteRow(-1);
    byId("no-requests")?.setAttribute("hidden", "");
    list.hidden = false;
    waiting.clear();
    announce();
  };
  button.addEventListener("click", () => {
    insert();
    body.rows[0]?.querySelector("a")?.focus();
  });

  const stream = new Stream({}, list.dataset.after ?? "", {
    reset: () => location.reload(),
    counts: ({ states }) => showCounts(states),
    requests: ({ requests }) => {
      for (const row of requests) {
        const line = lineOf(row.id);
        if (line) fill(line, row);
        else if (waiting.has(row.id) || row.received_at >= newest()) {
          if (matches(row)) waiting.set(row.id, row);
          else waiting.delete(row.id);
        }
      }
      // More than a page: the oldest would not be shown.
      while (waiting.size > limit) waiting.delete(waiting.keys().next().value ?? "");
      if (hasSubmitted) insert();
      else announce();
    },
  });
  const pause = /** @type {HTMLButtonElement} */ (byId("pause"));
  pause.hidden = false;
  pause.addEventListener("click", () => {
    stream.isPaused = !stream.isPaused;
    pause.setAttribute("aria-pressed", String(stream.isPaused));
    stream.update();
  });
}

/** Link to the requests of a state that had none. @param {string} state @param {number} number */
function countOf(state, number) {
  const link = linkTo(`./?${new URLSearchParams({ state })}`, "");
  const name = document.createElement("span");
  name.className = `state ${state}`;
  name.textContent = state;
  const count = document.createElement("span");
  count.dataset.count = state;
  count.textContent = String(number);
  link.append(name, " ", count);
  return link;
}

/** @param {Record<string, number>} states */
function showCounts(states) {
  const known = new Set();
  for (const count of document.querySelectorAll("[data-count]")) {
    const state = /** @type {HTMLElement} */ (count).dataset.count ?? "";
    count.textContent = String(states[state] ?? 0);
    known.add(state);
  }
  for (const [state, number] of Object.entries(states)) {
    if (!known.has(state)) byId("states")?.append(countOf(state, number));
  }
}

/** Fetch the page again; parts that differ from the server's are replaced, and keep the focus. */
async function refreshParts() {
  const response = await fetch(location.href);
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const name = /** @type {HTMLElement} */ (part).dataset.part;
    const other = fresh.querySelector(`[data-part="${name}"]`);
    if (!other || other.innerHTML === part.innerHTML) continue;
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const target = focused?.getAttribute("href");
    part.replaceChildren(...other.childNodes);
    const links = /** @type {NodeListOf<HTMLElement>} */ (part.querySelectorAll("a[href]"));
    [...links].find((link) => target && link.getAttribute("href") === target)?.focus();
  }
}

/**
 * Show the progress of the page's request. A page from before its download is fetched again.
 * @param {{progress: {bytes: number, total_bytes: ?number}, text: string}} report
 */
function showProgress({ progress, text }) {
  const bar = /** @type {?HTMLProgressElement} */ (document.querySelector("progress"));
  if (!bar) return refreshParts();
  if (progress.total_bytes) {
    bar.max = progress.total_bytes;
    bar.value = progress.bytes;
  } else bar.removeAttribute("value");
  const line = bar.nextElementSibling;
  if (line) line.textContent = text;
}

/** Pages that no event stream describes: refreshed while they are visible. */
function refreshSteadily() {
  setTimeout(async () => {
    try {
      if (!document.hidden) await refreshParts();
    } catch {
      // The console is restarted, or the page is left.
    }
    refreshSteadily();
  }, REFRESH_MILLISECONDS);
}

function follow() {
  const live = /** @type {?HTMLElement} */ (document.querySelector("[data-live]"));
  const { live: kind, id = "", after = "" } = live?.dataset ?? {};
  if (live && kind === "requests") followList(live);
  if (kind === "request") {
    const handlers = { requests: refreshParts, reset: refreshParts, progress: showProgress };
    new Stream({ request: id }, after, handlers);
  }
  if (kind === "page") refreshSteadily();
  if (kind === "ordered") {
    new Stream({ request: id }, after, { requests: () => location.reload() });
  }
}

const THEMES = ["auto", "light", "dark"];

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(storage.get("theme") ?? "auto") + 1) % THEMES.length];
  storage.set("theme", theme);
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  showTheme();
}

function showTheme() {
  const button = byId("theme");
  if (button) button.textContent = `Theme: ${storage.get("theme") ?? "auto"}`;
}

/** @param {number} step */
function moveFocus(step) {
  const lines = [...document.querySelectorAll("tr[data-id]")];
  const current = lines.findIndex((line) => line.contains(document.activeElement));
  const next = current < 0 ? 0 : Math.min(Math.max(current + step, 0), lines.length - 1);
  lines[next]?.querySelector("a")?.focus();
}

/** Open the form of a command, for the focused row or the page's request. @param {string} command */
function openForm(command) {
  const link = document.querySelector(`.actions a[href^="${command}?"]`);
  if (link instanceof HTMLAnchorElement) return link.click();
  const line = document.activeElement?.closest("tr[data-id]");
  if (!(line instanceof HTMLElement) || "readOnly" in document.body.dataset) return;
  if ("final" in line.dataset !== (command === "retry")) return;
  location.href = `${command}?${new URLSearchParams({ id: line.dataset.id ?? "" })}`;
}

/** @type {Record<string, () => void>} */
const SHORTCUTS = {
  "/": () => /** @type {?HTMLElement} */ (document.querySelector("[role=search] input"))?.focus(),
  "?": () => /** @type {?HTMLDialogElement} */ (byId("help"))?.showModal(),
  j: () => moveFocus(1),
  k: () => moveFocus(-1),
  r: () => openForm("retry"),
  c: () => openForm("cancel"),
  t: nextTheme,
};

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || storage.get("shortcuts") === "off") return;
  if (target.closest("input, select, textarea, dialog, video") || !(event.key in SHORTCUTS)) return;
  event.preventDefault();
  SHORTCUTS[event.key]();
}

/** Name this console in the bookmarklet, and select it for copying. */
function showBookmarklet() {
  const address = /** @type {?HTMLTextAreaElement} */ (byId("bookmarklet"));
  if (!address) return;
  const submit = new URL("submit", location.href);
  address.value = address.value.replace("CONSOLE/submit", `${submit.origin}${submit.pathname}`);
  document.querySelector("[data-without-script]")?.remove();
  address.addEventListener("focus", () => address.select());
}

function enableControls() {
  for (const id of ["theme", "keys"]) byId(id)?.removeAttribute("hidden");
  byId("theme")?.addEventListener("click", nextTheme);
  byId("keys")?.addEventListener("click", SHORTCUTS["?"]);
  const toggle = /** @type {?HTMLInputElement} */ (byId("shortcuts"));
  if (toggle) {
    toggle.checked = storage.get("shortcuts") !== "off";
    toggle.addEventListener("change", () => storage.set("shortcuts", toggle.checked ? "on" : "off"));
  }
  document.addEventListener("keydown", onKey);
  showTheme();
}

enableControls();
showBookmarklet();
follow();
