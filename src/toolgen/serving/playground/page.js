// What is shown, and what is listened to. It comes last, and begins.
"use strict";

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
