// Bundles the extension, its chat view and, with --test, the unit tests into dist/.
import { build } from "esbuild";
import { rmSync } from "node:fs";

const test = process.argv.includes("--test");
const common = { bundle: true, outdir: "dist", logLevel: "warning", target: "es2022" };
rmSync("dist", { recursive: true, force: true });
if (test) {
  await build({ ...common, entryPoints: ["test/*.test.ts"], outdir: "dist/test", platform: "node", format: "cjs" });
} else {
  const host = { platform: "node", format: "cjs", external: ["vscode"], minify: true };
  const page = { platform: "browser", format: "iife", minify: true };
  await build({ ...common, ...host, entryPoints: ["src/extension.ts"] });
  await build({ ...common, ...page, entryPoints: ["src/page/chat.ts", "src/page/chat.css"] });
}
