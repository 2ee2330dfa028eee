import { runOnThisMachine } from './linux-backend.js';

await runOnThisMachine();
