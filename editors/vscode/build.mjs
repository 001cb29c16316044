// Bundles the extension, its chat view and, with --test, the unit tests into dist/.
import { build } from "esbuild";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const common = { bundle: true, outdir: "dist", logLevel: "warning", target: "es2022", minify: true, metafile: true };
const host = { ...common, platform: "node", format: "cjs", external: ["vscode"] };
const page = { ...common, platform: "browser", format: "iife" };

/** The licences of the packages that went into the bundles. */
function notice(...results) {
  const inputs = results.flatMap((result) => Object.keys(result.metafile.inputs));
  const folders = new Set(inputs.flatMap((file) => file.match(/^.*node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? []));
  return [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
    const names = ["LICENSE", "LICENSE.md", "LICENSE.txt", "License.txt", "LICENSE-MIT"];
    const file = names.map((one) => `${folder}/${one}`).find((path) => existsSync(path));
    return `${name} ${version} (${license})\n\n${file ? readFileSync(file, "utf8").trim() : ""}\n`;
  });
}

const test = process.argv.includes("--test");
rmSync(test ? "dist/test" : "dist", { recursive: true, force: true });
if (test) {
  const entryPoints = ["test/*.test.ts", "test/host/index.ts"];
  await build({ ...host, entryPoints, outdir: "dist/test", minify: false });
} else {
  const built = await Promise.all([
    build({ ...host, entryPoints: ["src/extension.ts"] }),
    build({ ...page, entryPoints: ["src/page/chat.ts", "src/page/chat.css"] }),
  ]);
  writeFileSync("NOTICE", notice(...built).join(`\n${"-".repeat(72)}\n\n`));
}
