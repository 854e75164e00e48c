import { token } from "../access/token";

/** Before the token in the name of a subprotocol: a browser cannot set headers, and an address ends up in logs. */
const SUBPROTOCOL = "bearer.";

/** The browser's WebSocket, which shows the tab's token. The stock client makes its sockets of this (`vite.config.ts`). */
export default class TokenSocket extends WebSocket {
  constructor(url: string | URL) {
    const bearer = token();
    super(url, bearer === null ? [] : [SUBPROTOCOL + bearer]);
  }
}
