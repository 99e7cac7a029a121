// A stream of server-sent events that comes back after every interruption.
//
// The address is asked for anew each time it opens, so it can hold the cursors of what has arrived:
// nothing is lost or told twice. A stream that is silent for too long counts as lost: the service
// sends a heartbeat. While the page is hidden or left, the stream rests: a browser opens no more than
// six connections to a server, over all its tabs.

import { call } from "./api.js";

const SILENCE_MS = 40_000;
const HIDDEN_MS = 15_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const CALM_MS = 1500;

/** Says in the page's head that events are late, but only once that lasts. */
const note = {
  timer: null,
  lost() {
    this.timer ??= setTimeout(function () {
      document.getElementById("connection").textContent = "Reconnecting…";
    }, CALM_MS);
  },
  well() {
    clearTimeout(this.timer);
    this.timer = null;
    document.getElementById("connection").textContent = "";
  },
};

export class Stream {
  /**
   * @param {() => string} address  Path and query of the stream, with the newest cursors.
   * @param {Object<string, (value: any) => void>} handlers  What to do by kind of event.
   */
  constructor(address, handlers) {
    this.address = address;
    this.handlers = handlers;
    this.wait = FIRST_WAIT_MS;
    this.onVisibility = () => this.rest();
    this.onLeave = () => this.shut();
    document.addEventListener("visibilitychange", this.onVisibility);
    window.addEventListener("pageshow", this.onVisibility);
    window.addEventListener("pagehide", this.onLeave);
    this.open();
  }

  open() {
    const source = new EventSource(this.address());
    this.source = source;
    this.hear();
    source.onopen = () => {
      this.wait = FIRST_WAIT_MS;
      note.well();
      this.hear();
    };
    source.onerror = () => this.again();
    source.addEventListener("heartbeat", () => this.hear());
    for (const [kind, handler] of Object.entries(this.handlers)) {
      source.addEventListener(kind, (event) => {
        this.hear();
        handler(JSON.parse(event.data));
      });
    }
  }

  /** Something has arrived: wait for silence from now on. */
  hear() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.again(), SILENCE_MS);
  }

  /** Close what failed and open it again, later each time; a session that ended is noticed here. */
  again() {
    this.shut();
    note.lost();
    this.retry = setTimeout(async () => {
      try {
        await call("GET", "/me");
      } catch (error) {
        if (error.status === 401) return;
        if (!this.closed) this.again();
        return;
      }
      if (!this.closed && !this.source) this.open();
    }, this.wait * (0.75 + 0.5 * Math.random()));
    this.wait = Math.min(LONGEST_WAIT_MS, 2 * this.wait);
  }

  /** Let go of the connection while nobody looks. */
  rest() {
    clearTimeout(this.hidden);
    if (document.hidden) {
      this.hidden = setTimeout(() => this.shut(), HIDDEN_MS);
    } else if (!this.source && !this.closed) {
      this.wait = FIRST_WAIT_MS;
      this.shut();
      this.open();
    }
  }

  shut() {
    clearTimeout(this.silence);
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
  }

  close() {
    this.closed = true;
    this.shut();
    clearTimeout(this.hidden);
    document.removeEventListener("visibilitychange", this.onVisibility);
    window.removeEventListener("pageshow", this.onVisibility);
    window.removeEventListener("pagehide", this.onLeave);
    note.well();
  }
}
