import { mockBackend } from './mock-backend.js';
import { runSuite } from './suite.js';
import { SUBJECTS } from './subjects.js';

runSuite(mockBackend('legacy'), SUBJECTS);
runSuite(mockBackend('modern'), SUBJECTS);
