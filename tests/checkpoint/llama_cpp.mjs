// What llama.cpp makes of a GGUF file: node llama_cpp.mjs FILE < '{"texts": [...], "prompts": [[id, ...], ...], "of": [id, ...]}'
// Prints the token ids of each text (special tokens read and not), and for each prompt the ids of `of`, likeliest next token first.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const found = createRequire(process.env.TOOLGEN_NODE_LLAMA_CPP + "/package.json").resolve("node-llama-cpp");
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(found));
const asked = JSON.parse(readFileSync(0, "utf8"));
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: process.argv[2] });
const context = await model.createContext({ contextSize: 512, sequences: 1 });
const sequence = context.getSequence();
const answer = { tokens: [], special: [], ranked: [] };
for (const text of asked.texts) {
    answer.tokens.push([...model.tokenizer(text, false, "trimLeadingSpace")]);
    answer.special.push([...model.tokenizer(text, true, "trimLeadingSpace")]);
}
const of = new Set(asked.of);
for (const prompt of asked.prompts) {
    await sequence.clearHistory();
    const input = prompt.map((id, place) =>
        place < prompt.length - 1 ? id : [id, { generateNext: { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } } }]
    );
    const output = await sequence.controlledEvaluate(input);
    const probabilities = output.at(-1).next.probabilities; // a Map, likeliest first
    answer.ranked.push([...probabilities.keys()].filter((id) => of.has(id)));
}
process.stdout.write(JSON.stringify(answer));
process.exit(0);
