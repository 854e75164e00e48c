// Runs before the tests: without a server to test, one clear line instead of a failure for every test.

import { binary } from "./server.js";

try {
  console.log(`server under test: ${binary()}`);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
