import assert from "node:assert/strict";
import { test } from "node:test";
import manifest from "../package.json";
import { details } from "../src/cards";
import { Crashes } from "../src/crashes";
import { confirmed, onlyChange } from "../src/edits";
import { type Kept, packed, type Turn, unpacked } from "../src/kept";
import { declaredKeys, explicit } from "../src/settings";
import { modelName, shown } from "../src/state";
import { older } from "../src/version";

test("only what the user has set is sent, the nearest value of it", () => {
  const set: Record<string, object> = {
    "engine.model": { defaultValue: null, globalValue: "7b" },
    "completion.maxTokens": { defaultValue: 48, globalValue: 64, workspaceValue: 32, workspaceFolderValue: 16 },
    "completion.prefetch": { defaultValue: true, workspaceValue: false },
    "chat.maxTokens": { defaultValue: 700 },
    "server.path": { globalValue: "/x" },
  };
  const inspect = (key: string) => ({ key, ...set[key] });
  assert.deepEqual(explicit(Object.keys(set), { inspect }), {
    engine: { model: "7b" },
    completion: { maxTokens: 16, prefetch: false },
  });
});

test("a folder adds to the user's lists and cannot switch on what is off", () => {
  const set: Record<string, object> = {
    "privacy.ignoredGlobs": { globalValue: ["a", "b"], workspaceFolderValue: ["c", "b"] },
    "completion.enabled": { globalValue: false, workspaceValue: true },
  };
  const inspect = (key: string) => ({ key, ...set[key] });
  assert.deepEqual(explicit(Object.keys(set), { inspect }), {
    privacy: { ignoredGlobs: ["a", "b", "c"] },
    completion: { enabled: false },
  });
});

test("all settings of the manifest are known", () => {
  const keys = declaredKeys(manifest);
  assert.ok(keys.includes("server.path") && keys.includes("engine.model"));
  assert.equal(new Set(keys).size, keys.length);
});

test("the fifth crash within three minutes is one too many", () => {
  const crashes = new Crashes();
  assert.deepEqual([0, 1, 2, 3].map((t) => crashes.tooMany(t)), [false, false, false, false]);
  assert.equal(crashes.tooMany(200_000), false);
  assert.deepEqual([1, 2, 3].map((t) => crashes.tooMany(200_000 + t)), [false, false, false]);
  assert.equal(crashes.tooMany(200_004), true);
});

test("versions are compared by number", () => {
  assert.deepEqual(
    ["0.9", "0.10.0", "1.0.0", "1.0.1", "2", "nonsense"].map((version) => older(version, "1.0.0")),
    [true, true, false, false, false, true],
  );
});

test("the status bar shows state, model and latency", () => {
  assert.equal(shown({ state: "starting" }).text, "$(loading~spin) cl");
  const idle = shown({ state: "idle", model: "codellama/CodeLlama-7b-hf", last_ms: 41.7, reason: "comment" });
  assert.equal(idle.text, "$(sparkle) cl CodeLlama-7b-hf 42 ms");
  assert.match(idle.tooltip, /^cl-lsp: ready\nmodel: codellama\/.*\n.*42 ms\nno suggestion: comment\n/);
  assert.equal(shown({ state: "off", last_ms: 3 }).text, "$(circle-slash) cl");
  assert.equal(shown({ state: "error", message: "no room" }).severity, "warning");
  assert.equal(modelName("/models/mine/"), "mine");
});

test("a card tells what a model can do and what it takes", () => {
  const card = {
    id: "7b",
    capabilities: ["completion", "infilling"],
    refused: { chat: "it is no Instruct model" },
    context_length: 16384,
    weight_bytes: 13.5e9,
    kv_bytes_per_token: 524288,
  };
  const text = "completion, infilling · 16,384 tokens · 12.6 GiB and 0.5 GiB for 1,024 tokens";
  assert.equal(details(card, "completion"), text);
  assert.equal(details(card, "chat"), `${text} · it is no Instruct model`);
  assert.equal(details({ id: "x" }, "chat"), "");
});

test("a conversation is kept, the newest of it, up to 100,000 characters", () => {
  const about = { uri: "file:///a.py", range: { start: { line: 1, character: 0 }, end: { line: 2, character: 3 } }, text: "x" };
  const turns: Turn[] = [{ role: "user", text: "why?" }, { role: "assistant", text: "so", note: "" }];
  assert.deepEqual(unpacked(packed({ turns, about })), { turns, about });

  const long = (role: Turn["role"]): Turn => ({ role, text: "y".repeat(30_000), note: "" });
  const many = [long("user"), long("assistant"), long("user"), long("assistant"), ...turns];
  assert.deepEqual(unpacked(packed({ turns: many }))?.turns, [...many.slice(2)]);
  const huge: Kept = { turns: [{ role: "user", text: "z".repeat(200_000) }], about: { ...about, text: "z".repeat(200_000) } };
  assert.deepEqual(unpacked(packed(huge)), { turns: [], about: undefined });
});

test("an answer that was cut off says so, and nonsense is no conversation", () => {
  const kept = unpacked(packed({ turns: [{ role: "user", text: "a" }, { role: "assistant", text: "hal" }] }));
  assert.match(kept?.turns[1]?.note ?? "", /closed/);
  for (const nonsense of ["", "{", "[]", "null", '{"turns": 3}', '{"turns": [{"role": 1}]}']) {
    assert.equal(unpacked(nonsense), undefined, nonsense);
  }
});

test("what the user is to see first is an edit of one document that asks for it", () => {
  const at = (line: number) => ({ start: { line, character: 0 }, end: { line, character: 1 } });
  const edits = [5, 2].map((line) => ({ range: at(line), newText: `${line}`, annotationId: "a" }));
  const one = { textDocument: { uri: "file:///a.py", version: 3 }, edits };
  const other = { ...one, textDocument: { uri: "file:///b.py", version: 1 } };
  const create = { kind: "create" as const, uri: "file:///a.py" };
  const asks = { changeAnnotations: { a: { label: "Fix", needsConfirmation: true } } };
  const sorted = { uri: "file:///a.py", creates: false, edits: edits.toReversed() };
  assert.deepEqual(onlyChange({ documentChanges: [one], ...asks }), sorted);
  assert.deepEqual(onlyChange({ documentChanges: [create, one], ...asks }), { ...sorted, creates: true });
  for (const documentChanges of [[], [one, other], [create, other], [create]]) {
    assert.equal(onlyChange({ documentChanges, ...asks }), undefined);
  }
  assert.equal(onlyChange({ documentChanges: [one] }), undefined);
  assert.equal(onlyChange({ changes: { "file:///a.py": edits }, ...asks }), undefined);
  assert.equal(onlyChange(confirmed({ documentChanges: [one], ...asks })), undefined);
});
