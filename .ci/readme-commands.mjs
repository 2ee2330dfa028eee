/** node .ci/readme-commands.mjs N: prints the Nth shell command of README.md in the working directory. */
import { readFileSync } from 'node:fs';

const commands = [...readFileSync('README.md', 'utf8').matchAll(/^```sh\n(.+?)\n```$/gms)].map(([, text]) => text);
const command = commands[Number(process.argv[2]) - 1];
if (command === undefined) throw new Error(`README.md has ${commands.length} blocks of shell commands`);
console.log(command);
