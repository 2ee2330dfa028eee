/** node .ci/node-version.mjs PACKAGE_JSON: fails where this Node is older than `engines` of the package asks for. */
import { readFileSync } from 'node:fs';

const { engines } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const numbers = (version) => version.match(/\d+/g).map(Number);
const [major, minor] = numbers(process.versions.node);
const [leastMajor, leastMinor = 0] = numbers(engines.node);
if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
  console.log(`this is Node ${process.versions.node}, and the package needs ${engines.node}`);
  process.exitCode = 1;
}
