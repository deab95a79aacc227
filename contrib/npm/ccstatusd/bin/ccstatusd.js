#!/usr/bin/env node
// Runs the program, which npm installed as a package of its own for this system.
//
// `ccstatusd --program-path` prints where it lies, for those who start it often: node alone takes
// longer to start than the program does to end.

"use strict";

const { spawn } = require("node:child_process");
const path = require("node:path");

const name = `ccstatusd-${process.platform}-${process.arch}`;
let program;
try {
  program = path.join(path.dirname(require.resolve(`${name}/package.json`)), "bin", "ccstatusd");
} catch {
  console.error(
    `ccstatusd: the package ${name} is not installed. If npm was told to omit optional packages, ` +
      "install without that; otherwise there is no program for this system.",
  );
  process.exit(2);
}

const args = process.argv.slice(2);
if (args.length === 1 && args[0] === "--program-path") {
  console.log(program);
} else if (process.execve && process.platform !== "win32") {
  // The program takes this process over, with its signals and its standard input.
  process.execve(program, [program, ...args], process.env);
} else {
  run();
}

// In versions of node without `execve`.
function run() {
  const child = spawn(program, args, { stdio: "inherit" });
  // The terminal sends its own signal to both.
  process.on("SIGINT", () => {});
  const forwarded = ["SIGTERM", "SIGHUP"];
  for (const signal of forwarded) process.on(signal, () => child.kill(signal));
  child.on("error", (err) => {
    console.error(`ccstatusd: cannot run ${program}: ${err.message}`);
    process.exit(2);
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    for (const each of ["SIGINT", ...forwarded]) process.removeAllListeners(each);
    process.kill(process.pid, signal);
  });
}
