// The playground's page. Texts from the server become text nodes only: the Content-Security-Policy forbids anything else.
"use strict";

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const percent = (share) => {
  const value = 100 * share;
  return value > 0 && value < 0.1 ? "< 0.1%" : `${value.toFixed(value < 9.95 ? 1 : 0)}%`;
};
const seconds = (milliseconds) =>
  milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const share = (element, part) => element.style.setProperty("--share", `${Math.max(0, Math.min(1, part)) * 100}%`);

/** Calls `act` once nothing has come for `wait` milliseconds. */
function calm(wait, act) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), wait);
  };
}

// --- the server ------------------------------------------------------------------------------------------------------

const KEY = "toolgen-key";
let keyGiven = null; // while the dialog is open: what waits for a key

async function ask(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) };
  const given = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal };
  let response;
  try {
    response = await fetch(path, given);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("The server cannot be reached.");
  }
  if (response.status === 401) {
    if (sessionStorage.getItem(KEY) === key) await askForKey(key !== null);
    return ask(path, body, signal);
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Error(answer.error?.message ?? `The server answered ${response.status}.`);
  }
  return response;
}

function askForKey(wasWrong) {
  if (keyGiven) return keyGiven;
  const dialog = byId("key-dialog"), field = byId("key");
  if (wasWrong) byId("key-status").textContent = "That key was not accepted.";
  keyGiven = new Promise((resolve, reject) => {
    byId("key-form").onsubmit = () => {
      sessionStorage.setItem(KEY, field.value.trim());
      field.value = "";
      resolve();
    };
    dialog.onclose = () => {
      keyGiven = null;
      reject(new Error("This server asks for a key; load the page again to give one."));
    };
  });
  dialog.showModal();
  return keyGiven;
}

function fail(error) {
  if (error.name === "AbortError") return;
  byId("failure").textContent = error.message;
  byId("failure").hidden = false;
}
const succeed = () => (byId("failure").hidden = true);

// --- a tool's definition ---------------------------------------------------------------------------------------------

function typeOf(schema) {
  if (!schema || typeof schema !== "object") return "any";
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives) return [...new Set(alternatives.map(typeOf))].join(" or ");
  if (schema.enum) return `one of ${schema.enum.slice(0, 12).map(String).join(", ")}${schema.enum.length > 12 ? ", …" : ""}`;
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : (schema.type ?? "any");
  return type === "array" && schema.items ? `array of ${typeOf(schema.items)}` : type;
}

function definitionOf(tool) {
  const required = new Set(tool.parameters.required ?? []);
  const rows = Object.entries(tool.parameters.properties ?? {}).map(([name, schema]) => {
    const about = [typeOf(schema), required.has(name) ? "required" : "optional"].join(", ");
    const told = schema?.description ? [make("dd", {}, String(schema.description))] : [];
    return make("div", {}, make("dt", {}, make("code", {}, name), make("span", {}, about)), ...told);
  });
  const parameters = rows.length ? make("dl", {}, ...rows) : make("p", { class: "small" }, "It takes no arguments.");
  return make("div", { class: "definition" }, make("p", {}, tool.description || "It has no description."), parameters);
}

const definition = async (id) => (await ask("/playground/tool", { id })).json();
const parted = (id) => {
  const at = id.indexOf("&&");
  return at < 0 ? ["", id] : [id.slice(0, at), id.slice(at + 2)];
};

// --- search ----------------------------------------------------------------------------------------------------------

let about = null;
let searching = null;
const LIMIT = 10;

async function search() {
  if (!about) return;
  const query = byId("query").value.trim();
  searching?.abort();
  searching = new AbortController();
  byId("search-hint").hidden = query !== "";
  if (!query) {
    byId("columns").hidden = true;
    byId("search-status").textContent = "";
    return;
  }
  const { signal } = searching, body = { query, limit: LIMIT }, began = performance.now();
  try {
    const beside = about.compares ? ask("/playground/bm25", body, signal).then((response) => response.json()) : null;
    beside?.catch(() => {}); // awaited below
    const found = await (await ask("/v1/tools/search", body, signal)).json();
    const took = seconds(performance.now() - began);
    if (signal.aborted) return;
    succeed();
    list(byId("found"), found);
    byId("columns").hidden = false;
    byId("search-status").textContent = `${counted(about.tools, "tool")} searched in ${took}`;
    tellBest(found);
    if (!beside) return;
    const words = await beside;
    if (signal.aborted) return;
    list(byId("found-bm25"), words);
    compare(byId("found"), words, "BM25");
    compare(byId("found-bm25"), found, "model");
  } catch (error) {
    fail(error);
  }
}

const tellBest = calm(700, ({ data: [best], unit, no_tool: declines }) => {
  const sure = unit === "probability" ? `, ${percent(best?.score ?? 0)}` : "";
  const isDeclined = declines !== null && declines > (best?.score ?? 0);
  byId("search-said").textContent = isDeclined || !best ? "No tool fits." : `Best: ${best.id.replace("&&", ", ")}${sure}`;
});

function list(place, { data, unit, no_tool: declines }) {
  const top = Math.max(...data.map((one) => one.score), 1e-9), isShare = unit === "probability";
  const items = data.map((one, index) => row(one, index + 1, isShare ? percent(one.score) : one.score.toFixed(1), isShare ? one.score : one.score / top));
  if (isShare && declines !== null) {
    const score = make("span", { class: "score" }, percent(declines));
    const declined = make("li", { class: "declined" }, make("div", { class: "row" }, make("span"), make("span", { class: "name" }, "No tool fits"), score));
    share(declined, declines);
    items.splice(data.filter((one) => one.score >= declines).length, 0, declined);
  }
  const focused = place.contains(document.activeElement) && document.activeElement.closest("li").dataset.tool;
  place.replaceChildren(...(items.length ? items : [make("li", { class: "none" }, "No tool has a word of it.")]));
  if (focused) (items.find((item) => item.dataset.tool === focused)?.querySelector("button") ?? byId("query")).focus();
}

function row(tool, rank, score, part) {
  const [provider, name] = parted(tool.id);
  const button = make("button", { type: "button", class: "row", "aria-expanded": "false" },
    make("span", { class: "rank" }, String(rank)),
    make("span", { class: "title" }, make("span", { class: "name" }, name), make("span", { class: "provider" }, tool.provider || provider)),
    make("span", { class: "score" }, score),
    make("span", { class: "about" }, tool.description),
    make("span", { class: "other" }));
  const item = make("li", {}, button);
  item.dataset.tool = tool.id;
  share(item, part);
  button.addEventListener("click", () => unfold(item, button, tool.id).catch(fail));
  return item;
}

async function unfold(item, button, id) {
  const isOpen = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!isOpen));
  if (isOpen) item.lastElementChild.remove();
  else item.append(definitionOf(await definition(id)));
}

/** Says at each tool of a list which place it has in the other. */
function compare(place, other, name) {
  const ranks = new Map(other.data.map((one, index) => [one.id, index + 1]));
  for (const item of place.children) {
    const mark = item.querySelector(".other");
    if (mark) mark.textContent = ranks.has(item.dataset.tool) ? `${name} ${ranks.get(item.dataset.tool)}` : "";
  }
}

/** The arrows go from the field to the results and from one to the next. */
function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || byId("columns").hidden) return;
  const list = event.target.closest(".found") ?? byId("found");
  const stops = [byId("query"), ...list.querySelectorAll("button.row")], at = stops.indexOf(event.target);
  if (at < 0 || !stops[at + step]) return;
  event.preventDefault();
  stops[at + step].focus();
}

function markAlike(event) {
  const tool = event.type === "pointerout" ? undefined : event.target.closest("li")?.dataset.tool;
  for (const item of document.querySelectorAll(".found > li[data-tool]")) item.classList.toggle("alike", item.dataset.tool === tool);
}

// --- chat ------------------------------------------------------------------------------------------------------------

const ENDED = {
  finished: "Finished", gave_up: "The model gave up", declined: "No tool fits", step_limit: "Stopped after as many steps as are allowed",
  token_limit: "Stopped: the conversation does not fit the model", time_limit: "Stopped: it took too long",
};
let messages = []; // as Chat Completions have them: the turns that ended
let running = null;

async function talk(text) {
  const turn = new Turn(text, byId("results").value === "simulated");
  byId("talk").append(turn.element);
  byId("chat-hint").hidden = true;
  turn.element.scrollIntoView({ block: "start" });
  running = new AbortController();
  byId("send").textContent = "Stop";
  try {
    const body = { messages: [...messages, ...turn.messages], results: byId("results").value };
    const response = await ask("/playground/run", body, running.signal);
    for await (const event of eventsOf(response)) turn.hear(event);
    if (!turn.hasEnded) throw new Error("The server ended the conversation.");
    messages.push(...turn.messages);
  } catch (error) {
    turn.break(error.name === "AbortError" ? "Stopped. The model will not remember this." : error.message);
  }
  running = null;
  byId("send").textContent = "Send";
}

async function* eventsOf(response) {
  let text = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (text + part.value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) yield JSON.parse(block.slice(block.indexOf("data: ") + 6));
  }
}

/** What the user said, and each step that follows. */
class Turn {
  constructor(text, isMadeUp) {
    this.isMadeUp = isMadeUp;
    this.messages = [{ role: "user", content: text }];
    this.steps = make("ol", { class: "steps", "aria-label": "Steps" });
    this.element = make("article", { class: "turn" }, make("p", { class: "said" }, text), this.steps);
    this.hasEnded = false;
    this.at = 0;
  }

  hear(event) {
    if (event.error) throw new Error(event.error.message);
    const isNearEnd = document.documentElement.scrollHeight - scrollY - innerHeight < 120;
    this[`on_${event.type}`](event);
    if (isNearEnd) scrollTo({ top: document.documentElement.scrollHeight });
  }

  on_choice(event) {
    const [provider, name] = parted(event.tool), isTool = event.documentation !== "";
    const title = { finish: "Answer", no_tool: "Declined" }[event.tool] ?? name;
    this.time = make("span", { class: "time" });
    this.step = make("li", {}, make("div", { class: "step-head" }, make("span", { class: "name" }, title),
      ...(isTool ? [make("span", { class: "provider" }, provider)] : []), this.time));
    this.step.append(candidates(event));
    if (isTool) this.step.append(make("details", {}, make("summary", {}, "What the model now reads"), make("pre", { tabindex: "0" }, event.documentation)));
    this.steps.append(this.step);
    this.text = null;
    this.tick(event, "chosen in");
    say(isTool ? `Step ${event.step}: ${name}, ${percent(event.probability)}` : title);
  }

  on_arguments(event) {
    this.text ??= this.part("Arguments", "part writing");
    this.text.append(event.text);
  }

  on_answer(event) {
    this.answer ??= this.step.appendChild(make("p", { class: "answer" }));
    this.answer.append(event.text);
  }

  on_action(event) {
    this.step ??= this.steps.appendChild(make("li"));
    this.text?.parentElement.classList.remove("writing");
    if (event.stuck) {
      this.step.append(make("p", { class: "part wrong fault" }, `Not called: ${event.fault}`));
      return;
    }
    this.tick(event, "written in");
    if (event.tool === "finish" || event.tool === "no_tool") {
      if (event.arguments.answer !== undefined && this.answer) this.answer.textContent = event.arguments.answer;
      this.messages.push({ role: "assistant", content: this.answer?.textContent ?? "" });
      return;
    }
    const written = JSON.stringify(event.arguments);
    (this.text ?? this.part("Arguments")).textContent = written.length > 60 ? JSON.stringify(event.arguments, null, 2) : written;
    const call = { id: `call_${messages.length + this.messages.length}`, type: "function", function: { name: event.tool, arguments: written } };
    this.messages.push({ role: "assistant", content: "", tool_calls: [call] });
  }

  on_result(event) {
    const isWrong = event.status !== "ok";
    const title = isWrong ? "Result: an error" : this.isMadeUp ? "Result, made up" : "Result";
    this.part(title, isWrong ? "part wrong" : "part").append(readable(event.content));
    this.messages.push({ role: "tool", tool_call_id: this.messages.at(-1).tool_calls[0].id, content: event.content });
    this.at = event.at;
    say(isWrong ? "The call failed" : "The result is here");
  }

  on_end(event) {
    this.hasEnded = true;
    this.steps.lastElementChild?.classList.add("last");
    const told = [ENDED[event.status] ?? event.status, counted(event.calls, "call"), counted(event.tokens, "token"), seconds(event.at)];
    this.element.append(make("p", { class: "sum" }, told.join(" · ")));
    say(`${told[0]}. ${this.answer?.textContent ?? ""}`);
  }

  break(reason) {
    this.text?.parentElement.classList.remove("writing");
    this.steps.lastElementChild?.classList.add("last");
    this.element.append(make("p", { class: "sum wrong fault", role: "alert" }, reason));
  }

  part(title, kind = "part") {
    const text = make("pre", { tabindex: "0" });
    this.step.append(make("div", { class: kind }, make("h3", {}, title), text));
    return text;
  }

  tick(event, what) {
    this.time.textContent = [this.time.textContent, `${what} ${seconds(event.at - this.at)}`].filter(Boolean).join(", ");
    this.at = event.at;
  }
}

function candidates({ candidates: all, tool: chosen, probability }) {
  const shown = all.length ? all.slice(0, 5) : [{ tool: chosen, probability }];
  if (!shown.some((one) => one.tool === chosen)) shown.push({ tool: chosen, probability });
  return make("ol", { class: "candidates", "aria-label": "Candidates" }, ...shown.map((one) => {
    const [provider, name] = parted(one.tool);
    const label = { finish: "an answer", no_tool: "no tool fits" }[one.tool] ?? [name, provider].filter(Boolean).join(" · ");
    const bar = make("span", { class: "bar" });
    share(bar, one.probability);
    return make("li", one.tool === chosen ? { class: "chosen" } : {}, make("span", {}, label), bar, make("span", { class: "score" }, percent(one.probability)));
  }));
}

function readable(content) {
  try {
    const value = JSON.parse(content);
    return content.length > 60 ? JSON.stringify(value, null, 2) : content;
  } catch {
    return content;
  }
}

const say = (text) => (byId("chat-status").textContent = text);

// --- map -------------------------------------------------------------------------------------------------------------

const COLORS = 9; // providers with a color of their own; the others share the last
const NOTHING = { minX: 0, maxX: 0, minY: 0, maxY: 0 };
const map = { box: NOTHING, points: [], view: { x: 0, y: 0, zoom: 1 }, current: null, hovered: null, only: null, ranks: new Map(), colors: [] };

async function loadMap() {
  if (map.asked) return;
  map.asked = true;
  try {
    const { of, total, providers, tools, places } = await (await ask("/playground/map")).json();
    const sizes = providers.map(() => 0);
    for (const [, , provider] of tools) sizes[provider] += 1;
    const order = sizes.map((_, provider) => provider).sort((a, b) => sizes[b] - sizes[a]);
    const colorOf = new Map(order.slice(0, COLORS).map((provider, color) => [provider, color]));
    map.points = tools.map(([id, name, provider], index) => ({
      id, name, provider: providers[provider], color: colorOf.get(provider) ?? COLORS, x: places[index][0], y: places[index][1], index,
    }));
    const [xs, ys] = [map.points.map(({ x }) => x), map.points.map(({ y }) => y)];
    map.box = { minX: Math.min(...xs), maxX: Math.max(...xs), minY: Math.min(...ys), maxY: Math.max(...ys) };
    showAll();
    map.byId = new Map(map.points.map((point) => [point.id, point]));
    const part = tools.length < total ? `${counted(tools.length, "tool")} of ${total.toLocaleString("en")}` : counted(total, "tool");
    const why = of === "rows" ? "the model takes for alike: neighbors have similar rows" : "are described alike: neighbors share words";
    map.told = `${part}. Near each other is what ${why}.`;
    tellMap(map.told);
    drawLegend(order.map((provider) => [providers[provider], sizes[provider]]));
    takeColors();
    draw();
  } catch (error) {
    map.asked = false;
    tellMap("");
    fail(error);
  }
}

const tellMap = (text) => (byId("map-status").textContent = text);

function drawLegend(providers) {
  const named = providers.slice(0, COLORS), rest = providers.slice(COLORS);
  const entries = named.map(([name, size], color) => [name || "no provider", size, color]);
  if (rest.length) entries.push([counted(rest.length, "other"), rest.reduce((sum, [, size]) => sum + size, 0), COLORS]);
  byId("legend").replaceChildren(...entries.map(([name, size, color]) => {
    const swatch = make("i", { "aria-hidden": "true" });
    swatch.style.setProperty("--swatch", `var(--c${color})`);
    const button = make("button", { type: "button", "aria-pressed": "false" }, swatch, make("span", {}, name), make("span", {}, String(size)));
    button.addEventListener("click", () => {
      map.only = map.only === color ? null : color;
      for (const [index, other] of [...byId("legend").children].entries()) other.setAttribute("aria-pressed", String(entries[index][2] === map.only));
      draw();
    });
    return button;
  }));
}

/** The colors as the theme has them: a canvas knows no variables. */
function takeColors() {
  const probe = byId("canvas").parentElement.appendChild(make("span"));
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  map.colors = Array.from({ length: COLORS + 1 }, (_, color) => read(`c${color}`));
  [map.paper, map.ink, map.accent, map.soft] = ["paper", "ink", "accent", "soft"].map(read);
  probe.remove();
}

function toScreen({ x, y }) {
  const { view, width, height, box } = map, margin = 24;
  const whole = Math.min((width - 2 * margin) / (box.maxX - box.minX || 1), (height - 2 * margin) / (box.maxY - box.minY || 1));
  const scale = whole * view.zoom;
  return [(x - view.x) * scale + width / 2, (y - view.y) * scale + height / 2, scale];
}

function draw() {
  if (map.waiting) return;
  map.waiting = true;
  requestAnimationFrame(() => {
    map.waiting = false;
    const canvas = byId("canvas"), ratio = devicePixelRatio || 1;
    map.width = canvas.clientWidth;
    map.height = canvas.clientHeight;
    if (!map.width || !map.points.length) return;
    canvas.width = map.width * ratio;
    canvas.height = map.height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    drawPoints(pen);
    drawLabels(pen);
  });
}

const isFaint = (point) => (map.only !== null && point.color !== map.only) || (map.ranks.size > 0 && !map.ranks.has(point.id));

function drawPoints(pen) {
  const radius = map.radius = Math.min(6, Math.min(3.5, 1 + map.width / 16 / Math.sqrt(map.points.length)) * Math.sqrt(map.view.zoom));
  map.seen = [];
  for (let color = COLORS; color >= 0; color -= 1) {
    for (const point of map.points) {
      if (point.color !== color) continue;
      const [x, y] = toScreen(point);
      if (x < -9 || y < -9 || x > map.width + 9 || y > map.height + 9) continue;
      const isFound = map.ranks.has(point.id);
      map.seen.push({ point, x, y });
      pen.globalAlpha = isFaint(point) ? 0.14 : 0.9;
      pen.fillStyle = isFound ? map.accent : map.colors[color];
      pen.beginPath();
      pen.arc(x, y, isFound ? radius + 2 : radius, 0, 2 * Math.PI);
      pen.fill();
    }
  }
  pen.globalAlpha = 1;
  for (const point of [map.hovered, map.current]) {
    if (!point) continue;
    const [x, y] = toScreen(point);
    pen.strokeStyle = map.ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, radius + 4, 0, 2 * Math.PI);
    pen.stroke();
  }
}

/** Names that fit beside what is there already, the most wanted first. */
function drawLabels(pen) {
  const taken = [[map.width - 60, map.height - 140, map.width, map.height]]; // the buttons
  const place = (text, spots, color, font) => {
    pen.font = font;
    const shown = text.length > 32 ? `${text.slice(0, 31)}…` : text, width = pen.measureText(shown).width;
    const isFree = ([x, y]) => x > 3 && x + width < map.width - 3 &&
      !taken.some((box) => x - 3 < box[2] && x + width + 3 > box[0] && y - 9 < box[3] && y + 9 > box[1]);
    const spot = spots(width).find(isFree);
    if (!spot) return;
    const [x, y] = spot;
    taken.push([x - 3, y - 9, x + width + 3, y + 9]);
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    pen.strokeStyle = map.paper;
    pen.fillStyle = color;
    pen.strokeText(shown, x, y);
    pen.fillText(shown, x, y);
  };
  pen.textBaseline = "middle";
  const sans = getComputedStyle(document.body).fontFamily, small = `12px ${sans}`, strong = `600 13px ${sans}`;
  const beside = (point, text, font, color) => {
    const [x, y] = toScreen(point);
    const gap = map.radius + 8;
    place(text, (width) => [[x + gap, y], [x - gap - width, y], [x - width / 2, y - gap - 7], [x - width / 2, y + gap + 7]], color, font);
  };
  if (map.current) beside(map.current, map.current.name, strong, map.ink);
  for (const [id, rank] of map.ranks) if (map.byId.has(id)) beside(map.byId.get(id), `${rank}  ${map.byId.get(id).name}`, strong, map.ink);
  if (map.ranks.size) return;
  const clear = map.seen.filter(({ point }) => !isFaint(point) && point !== map.current);
  if (clear.length <= 60 || map.view.zoom > 4) for (const { point } of clear.slice(0, 400)) beside(point, point.name, small, map.ink);
  else for (const [name, color, x, y] of centers(clear)) place(name, (width) => [[x - width / 2, y]], map.colors[color], strong);
}

/** Each colored provider's name in the middle of its points. */
function centers(seen) {
  const groups = new Map();
  for (const one of seen) {
    if (one.point.color === COLORS) continue;
    if (!groups.has(one.point.color)) groups.set(one.point.color, []);
    groups.get(one.point.color).push(one);
  }
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  return [...groups].sort(([a], [b]) => a - b).map(([color, group]) =>
    [group[0].point.provider, color, median(group.map((one) => one.x)), median(group.map((one) => one.y)) - 14]);
}

function zoomBy(factor, x = map.width / 2, y = map.height / 2) {
  const { view } = map, zoom = Math.max(1, Math.min(60, view.zoom * factor)), [, , scale] = toScreen({ x: 0, y: 0 });
  const grown = scale * (zoom / view.zoom);
  view.x += (x - map.width / 2) * (1 / scale - 1 / grown);
  view.y += (y - map.height / 2) * (1 / scale - 1 / grown);
  view.zoom = zoom;
  if (zoom === 1) Object.assign(view, middle());
  draw();
}

function moveBy(dx, dy) {
  const [, , scale] = toScreen({ x: 0, y: 0 });
  map.view.x = Math.max(map.box.minX, Math.min(map.box.maxX, map.view.x - dx / scale));
  map.view.y = Math.max(map.box.minY, Math.min(map.box.maxY, map.view.y - dy / scale));
  draw();
}

function pointAt(x, y) {
  let best = null, least = 14 ** 2;
  for (const one of map.seen ?? []) {
    const distance = (one.x - x) ** 2 + (one.y - y) ** 2;
    if (distance < least && !(map.only !== null && one.point.color !== map.only)) [best, least] = [one.point, distance];
  }
  return best;
}

/** The next tool in a direction: near, and not far to the side. */
function neighborOf(from, dx, dy) {
  let best = null, least = Infinity;
  for (const point of map.points) {
    const along = (point.x - from.x) * dx + (point.y - from.y) * dy;
    const aside = Math.abs((point.x - from.x) * dy) + Math.abs((point.y - from.y) * dx);
    if (along <= 1e-6 || aside > along || (map.only !== null && point.color !== map.only)) continue;
    if (along + 2 * aside < least) [best, least] = [point, along + 2 * aside];
  }
  return best;
}

function nearest(from, count) {
  const away = (point) => (point.x - from.x) ** 2 + (point.y - from.y) ** 2;
  return map.points.filter((point) => point !== from).sort((a, b) => away(a) - away(b)).slice(0, count);
}

function goTo(point) {
  if (!point) return;
  map.current = point;
  const [x, y] = toScreen(point);
  if (x < 20 || y < 20 || x > map.width - 20 || y > map.height - 20) [map.view.x, map.view.y] = [point.x, point.y];
  byId("point-said").textContent = `${point.name}, ${point.provider}`;
  draw();
}

async function openPoint(point) {
  goTo(point);
  const tool = await definition(point.id), card = byId("map-tool");
  const near = nearest(point, 5).map((other) => {
    const button = make("button", { type: "button", class: "plain" }, `${other.name}`);
    button.addEventListener("click", () => openPoint(other).catch(fail));
    return button;
  });
  card.replaceChildren(make("h2", { class: "name" }, tool.name), make("p", { class: "provider" }, tool.provider), definitionOf(tool),
    make("p", { class: "small" }, "Nearest on the map"), make("div", { class: "near" }, ...near));
  card.hidden = false;
  byId("point-said").textContent = `${tool.name}, ${tool.provider}. ${tool.description}`;
}

const middle = () => ({ x: (map.box.minX + map.box.maxX) / 2, y: (map.box.minY + map.box.maxY) / 2 });

function showAll() {
  Object.assign(map, { view: { ...middle(), zoom: 1 }, current: null });
  byId("map-tool").hidden = true;
  draw();
}

function hover(point) {
  const tip = byId("point");
  if (point !== map.hovered) {
    map.hovered = point;
    draw();
  }
  tip.hidden = !point;
  if (!point) return;
  tip.textContent = `${point.name} · ${point.provider}`;
  const [x, y] = toScreen(point);
  tip.style.transform = `translate(${Math.max(0, Math.min(x + 12, map.width - tip.offsetWidth))}px, ${Math.max(0, y - 34)}px)`;
}

let finding = null;
async function findOnMap() {
  const query = byId("map-query").value.trim();
  finding?.abort();
  finding = new AbortController();
  try {
    const found = query ? (await (await ask("/v1/tools/search", { query, limit: LIMIT }, finding.signal)).json()).data : [];
    succeed();
    map.ranks = new Map(found.map((one, index) => [one.id, index + 1]));
    const drawn = found.filter((one) => map.byId?.has(one.id));
    tellMap(query ? `${drawn.length} of ${found.length} found are on the map${drawn.length ? `; best: ${parted(drawn[0].id)[1]}` : ""}` : (map.told ?? ""));
    draw();
  } catch (error) {
    fail(error);
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function mapKey(event) {
  const { key } = event;
  if (ARROWS[key]) goTo(map.current ? neighborOf(map.current, ...ARROWS[key]) : nearest(map.view, 1)[0]);
  else if (key === "+" || key === "=") zoomBy(1.5, ...(map.current ? toScreen(map.current) : []));
  else if (key === "-") zoomBy(1 / 1.5);
  else if (key === "Escape") showAll();
  else if (key === "Enter" && map.current) openPoint(map.current).catch(fail);
  else return;
  event.preventDefault();
}

/** Mouse and fingers: one moves, two zoom, a tap opens. */
function mapPointers() {
  const canvas = byId("canvas"), fingers = new Map();
  let moved = 0;
  const at = (event) => [event.offsetX, event.offsetY];
  const spread = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  canvas.addEventListener("pointerdown", (event) => {
    if (!fingers.size) moved = 0;
    fingers.set(event.pointerId, at(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event), before = fingers.get(event.pointerId);
    if (!before) return hover(pointAt(x, y));
    const gap = fingers.size === 2 ? spread([...fingers.values()]) : 0;
    fingers.set(event.pointerId, [x, y]);
    moved += Math.hypot(x - before[0], y - before[1]);
    if (gap) {
      const [a, b] = [...fingers.values()];
      zoomBy(spread([a, b]) / gap, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
    } else if (moved > 4) {
      hover(null);
      moveBy(x - before[0], y - before[1]);
    }
  });
  const lift = (event) => {
    const point = fingers.size === 1 && moved <= 4 && event.type === "pointerup" ? pointAt(...at(event)) : null;
    fingers.delete(event.pointerId);
    if (point) openPoint(point).catch(fail);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(1.0015 ** -event.deltaY, ...at(event));
  }, { passive: false });
}

// --- the page --------------------------------------------------------------------------------------------------------

const VIEWS = { search: "query", chat: "say", map: "map-query" };
const view = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "search");

function showView() {
  for (const name of Object.keys(VIEWS)) {
    byId(`view-${name}`).hidden = name !== view();
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === view()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${byId(`title-${view()}`).textContent} · toolgen playground`;
  if (view() === "map") loadMap().then(draw);
}

const THEME = "toolgen-theme", systemDark = matchMedia("(prefers-color-scheme: dark)");
function showTheme() {
  const chosen = localStorage.getItem(THEME);
  if (chosen) document.documentElement.dataset.theme = chosen;
  byId("theme").setAttribute("aria-pressed", String(chosen ? chosen === "dark" : systemDark.matches));
  if (map.points.length) {
    takeColors();
    draw();
  }
}

function listen() {
  addEventListener("hashchange", () => {
    showView();
    byId("main").focus();
  });
  addEventListener("resize", draw);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog")) return;
    event.preventDefault();
    byId(VIEWS[view()]).focus();
  });
  systemDark.addEventListener("change", showTheme);
  byId("theme").addEventListener("click", () => {
    localStorage.setItem(THEME, byId("theme").getAttribute("aria-pressed") === "true" ? "light" : "dark");
    showTheme();
  });
  const later = calm(120, search);
  byId("query").addEventListener("input", later);
  byId("search-form").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  byId("view-search").addEventListener("keydown", walk);
  byId("columns").addEventListener("pointerover", markAlike);
  byId("columns").addEventListener("pointerout", markAlike);
  byId("columns").addEventListener("focusin", markAlike);
  byId("map-query").addEventListener("input", calm(200, findOnMap));
  byId("map-form").addEventListener("submit", (event) => { event.preventDefault(); findOnMap(); });
  byId("canvas").addEventListener("keydown", mapKey);
  byId("zoom-in").addEventListener("click", () => zoomBy(1.6));
  byId("zoom-out").addEventListener("click", () => zoomBy(1 / 1.6));
  byId("zoom-all").addEventListener("click", showAll);
  mapPointers();
  listenToChat();
}

function listenToChat() {
  const field = byId("say");
  byId("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) {
      running.abort();
    } else if (field.value.trim()) {
      talk(field.value.trim());
      field.value = "";
    }
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!running) byId("chat-form").requestSubmit();
  });
  byId("clear").addEventListener("click", () => {
    running?.abort();
    messages = [];
    byId("talk").replaceChildren();
    byId("chat-hint").hidden = false;
    field.focus();
  });
}

async function begin() {
  showTheme();
  listen();
  showView();
  try {
    about = await (await ask("/playground/about")).json();
  } catch (error) {
    fail(error);
    return;
  }
  byId("served").textContent = `${about.name} · ${counted(about.tools, "tool")}`;
  byId("by-model").textContent = about.compares ? "Model" : "BM25";
  byId("beside").hidden = !about.compares;
  byId("columns").classList.toggle("alone", !about.compares);
  byId("chat").hidden = about.no_chat !== "";
  byId("no-chat").hidden = about.no_chat === "";
  byId("no-chat").textContent = about.no_chat;
  if (view() === "search" && matchMedia("(hover: hover)").matches) byId("query").focus();
  if (byId("query").value) search();
}

begin();
