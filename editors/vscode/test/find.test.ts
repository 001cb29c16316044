import assert from "node:assert/strict";
import { test } from "node:test";
import { find, places, type Surroundings } from "../src/find";

const at: Surroundings = {
  given: "",
  folders: ["/work/a"],
  interpreter: "/envs/x/bin/python",
  searchPath: "/usr/bin::/bin",
  home: "/home/u",
  windows: false,
};

test("from the workspace's environment to the home", () => {
  assert.deepEqual(places(at), [
    "/work/a/.venv/bin/cl-lsp",
    "/work/a/venv/bin/cl-lsp",
    "/envs/x/bin/cl-lsp",
    "/usr/bin/cl-lsp",
    "/bin/cl-lsp",
    "/home/u/.local/bin/cl-lsp",
  ]);
});

test("what is named is looked for nowhere else", () => {
  assert.deepEqual(places({ ...at, given: "~/bin/cl-lsp" }), ["/home/u/bin/cl-lsp"]);
  assert.equal(find({ ...at, given: "/no/such" }, () => false), undefined);
});

test("without trust there is neither a workspace nor an interpreter", () => {
  const found = places({ ...at, folders: [], interpreter: undefined });
  assert.equal(found[0], "/usr/bin/cl-lsp");
});

test("the first that is there is taken", () => {
  assert.equal(find(at, (file) => file.startsWith("/bin") || file.startsWith("/home")), "/bin/cl-lsp");
});

test("Windows has its own names", () => {
  const windows = { ...at, folders: ["C:\\a"], interpreter: undefined, searchPath: "C:\\p;", home: "C:\\u", windows: true };
  assert.deepEqual(places(windows).slice(0, 3), [
    "C:\\a\\.venv\\Scripts\\cl-lsp.exe",
    "C:\\a\\venv\\Scripts\\cl-lsp.exe",
    "C:\\p\\cl-lsp.exe",
  ]);
});
