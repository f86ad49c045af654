// What all views of the playground use. Texts from the server become text nodes only: the Content-Security-Policy forbids
// anything else.
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
