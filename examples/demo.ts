/**
 * The main job of this package in one command: hand a file's own buffer to an accelerator, have it copied and summed in
 * shared virtual memory, and check both. See demo/run.ts for what happens in which order.
 */
import { connect } from 'intel-svm';
import { runDemo } from './demo/run.js';

// A reader that has seen enough, such as head(1), is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

process.exitCode = await runDemo(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  connect,
});
