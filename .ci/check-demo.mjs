/** node .ci/check-demo.mjs [TEXT]: checks the demo's JSON on standard input. TEXT must stand in the reason for the backend. */
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';

const { ok, backend, reason, files, badAddress, pasid } = JSON.parse(await text(process.stdin));
console.log(`backend ${backend}: ${reason}`);
for (const { path, bytes, descriptors, pageRequests } of files) {
  console.log(`${path}: ${bytes} bytes, ${descriptors} descriptors, ${pageRequests.count} page requests`);
}
const [, , expected = ''] = process.argv;
assert.ok(reason.includes(expected), `the reason must name: ${expected}`);
assert.equal(ok, true);
for (const { copyIsEqual, crc } of files) assert.deepEqual([copyIsEqual, crc.device], [true, crc.node]);
assert.match(badAddress.symbol, /^PAGE_FAULT/);
assert.deepEqual([pasid.whileBound, pasid.afterUnbind], ['valid', 'EINVAL']);
