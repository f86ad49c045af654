// Search as one types, the model beside BM25.
"use strict";

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

const tellBest = calm(700, ({ data: [best], unit, declined }) => {
  const sure = unit === "probability" ? `, ${percent(best?.score ?? 0)}` : "";
  byId("search-said").textContent = declined || !best ? "No tool fits." : `Best: ${best.id.replace("&&", ", ")}${sure}`;
});

function list(place, { data, unit, declined, no_tool: declines }) {
  const top = Math.max(...data.map((one) => one.score), 1e-9), isShare = unit === "probability";
  const items = data.map((one, index) => row(one, index + 1, isShare ? percent(one.score) : one.score.toFixed(1), isShare ? one.score : one.score / top));
  if (declined || (isShare && declines !== null)) {
    const score = make("span", { class: "score" }, isShare && declines !== null ? percent(declines) : "");
    const none = make("li", { class: "declined" }, make("div", { class: "row" }, make("span"), make("span", { class: "name" }, "No tool fits"), score));
    share(none, isShare && declines !== null ? declines : 0);
    items.splice(declined ? 0 : data.filter((one) => one.score >= declines).length, 0, none);
  }
  for (const item of items) keepOpen(place, item);
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

const expanded = (item) => item.querySelector("button")?.getAttribute("aria-expanded") === "true";

/** A tool whose definition is open, or being fetched, stays open when a later search finds it again. */
function keepOpen(place, item) {
  const before = [...place.children].find((one) => one.dataset.tool === item.dataset.tool && expanded(one));
  if (!before) return;
  before.successor = item;
  item.querySelector("button").setAttribute("aria-expanded", "true");
  const shown = before.querySelector(".definition");
  if (shown) item.append(shown);
}

async function unfold(item, button, id) {
  const opens = !expanded(item);
  button.setAttribute("aria-expanded", String(opens));
  item.querySelector(".definition")?.remove();
  if (!opens) return;
  const told = definitionOf(await definition(id));
  let place = item;
  while (place.successor) place = place.successor;
  if (expanded(place) && !place.querySelector(".definition")) place.append(told);
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
