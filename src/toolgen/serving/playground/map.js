// The map of the tools.
"use strict";

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
