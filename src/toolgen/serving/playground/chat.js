// A conversation, each step as it happens.
"use strict";

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
    this.chosen = []; // the steps whose actions are still to come
    this.called = []; // those whose results are, in the order of their calls; null where one has come
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
    const card = this.card();
    card.step.append(make("div", { class: "step-head" }, make("span", { class: "name" }, title),
      ...(isTool ? [make("span", { class: "provider" }, provider)] : []), card.time));
    card.step.append(candidates(event));
    if (isTool) card.step.append(make("details", {}, make("summary", {}, "What the model now reads"), make("pre", { tabindex: "0" }, event.documentation)));
    this.chosen.push(card);
    this.tick(card, event, "chosen in");
    say(isTool ? `Step ${event.step}: ${name}, ${percent(event.probability)}` : title);
  }

  on_arguments(event) {
    const card = this.chosen.at(-1);
    this.written(card, event.text);
    this.tick(card, event, "written in");
  }

  on_answer(event) {
    this.answer ??= this.chosen.at(-1).step.appendChild(make("p", { class: "answer" }));
    this.answer.append(event.text);
  }

  /** Of independent calls the actions come one after the other, in their order; then the results, as they come. */
  on_action(event) {
    const card = this.chosen.shift() ?? this.card();
    if (event.stuck) {
      card.step.append(make("p", { class: "part wrong fault" }, `Not called: ${event.fault}`));
      return;
    }
    if (event.tool === "finish" || event.tool === "no_tool") {
      this.tick(card, event, "written in");
      if (event.arguments.answer !== undefined && this.answer) this.answer.textContent = event.arguments.answer;
      this.messages.push({ role: "assistant", content: this.answer?.textContent ?? "" });
      return;
    }
    const written = JSON.stringify(event.arguments);
    this.written(card, written.length > 60 ? JSON.stringify(event.arguments, null, 2) : written);
    if (!this.called.length) this.messages.push({ role: "assistant", content: "", tool_calls: [] });
    const calls = this.messages.at(-1).tool_calls;
    card.id = `call_${messages.length + this.messages.length}_${calls.length}`;
    calls.push({ id: card.id, type: "function", function: { name: event.tool, arguments: written } });
    this.called.push(card);
  }

  on_result(event) {
    const isWrong = event.status !== "ok", card = this.called[event.call];
    this.called[event.call] = null;
    if (this.called.every((one) => one === null)) this.called = [];
    const title = isWrong ? "Result: an error" : this.isMadeUp ? "Result, made up" : "Result";
    this.part(card, title, isWrong ? "part wrong" : "part").append(readable(event.content));
    this.messages.push({ role: "tool", tool_call_id: card.id, content: event.content });
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
    this.steps.lastElementChild?.classList.add("last");
    this.element.append(make("p", { class: "sum wrong fault", role: "alert" }, reason));
  }

  card() {
    const card = { step: make("li"), time: make("span", { class: "time" }), text: null };
    this.steps.append(card.step);
    return card;
  }

  written(card, text) {
    card.text ??= this.part(card, "Arguments");
    card.text.textContent = text;
  }

  part(card, title, kind = "part") {
    const text = make("pre", { tabindex: "0" });
    card.step.append(make("div", { class: kind }, make("h3", {}, title), text));
    return text;
  }

  tick(card, event, what) {
    card.time.textContent = [card.time.textContent, `${what} ${seconds(event.at - this.at)}`].filter(Boolean).join(", ");
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
