// One stream over WebSockets: opened, kept, and taken up again where it broke.

const VERSION = 1;
const HEADER_BYTES = 16;
const MAGIC = 0x4d53;
const FLOAT32 = 1;
const FIRST_WAIT = 250;
const LONGEST_WAIT = 4000;
const GIVE_UP_AFTER = 30000;
const SILENCE_ALLOWED = 6000;
const REFUSALS = 4400; // codes from here on are the server's word, not an accident

/** States: idle, connecting, open, reconnecting, refused, lost. */
export class Connection {
  constructor(listeners) {
    this.listeners = listeners;
    this.state = "idle";
    this.session = null;
    this.next = 0;
    this.sent = 0;
    this.expecting = false; // whether silence means that something is wrong
    setInterval(() => this.watch(), 1000);
    addEventListener("online", () => this.retry());
  }

  /** The token stands behind the # of the address, which no browser sends anywhere. */
  get token() {
    return new URLSearchParams(location.hash.slice(1)).get("token");
  }

  /** Open a new stream: `request` holds seed, nfe and context where they are chosen. */
  open(request) {
    this.close();
    this.request = request;
    this.session = null;
    this.next = 0;
    this.connect("connecting");
  }

  /** Say good-bye; the server forgets the stream. */
  close() {
    clearTimeout(this.timer);
    if (this.socket) {
      this.send({ type: "bye" });
      this.drop();
    }
    this.change("idle");
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  sendAudio(samples, rate) {
    if (this.socket?.readyState !== WebSocket.OPEN || this.state !== "open") return;
    const message = new ArrayBuffer(HEADER_BYTES + 4 * samples.length);
    const view = new DataView(message);
    view.setUint16(0, MAGIC, true);
    view.setUint8(2, VERSION);
    view.setUint8(3, FLOAT32);
    view.setUint32(4, this.sent, true);
    view.setUint32(8, rate, true);
    new Float32Array(message, HEADER_BYTES).set(samples);
    this.sent += 1;
    this.socket.send(message);
  }

  connect(state) {
    this.change(state);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/stream`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.greet();
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.closed(event);
    this.socket = socket;
    this.heardAt = Date.now();
    this.refusal = null;
  }

  greet() {
    const hello = { type: "hello", version: VERSION };
    if (this.token) hello.token = this.token;
    if (this.session) Object.assign(hello, { session: this.session, next: this.next });
    else Object.assign(hello, this.request);
    this.send(hello);
  }

  receive(data) {
    this.heardAt = Date.now();
    if (data instanceof ArrayBuffer) {
      const view = new DataView(data);
      const first = view.getUint32(8, true) + view.getUint32(12, true) * 4294967296;
      const samples = new Float32Array(data, HEADER_BYTES);
      this.next = first + samples.length;
      this.listeners.samples(first, samples);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "refused") this.refusal = message;
    else if (message.type === "welcome") this.welcomed(message);
    else this.listeners.message(message);
  }

  welcomed(message) {
    const resumed = this.session !== null;
    this.session = message.session;
    this.brokeAt = null;
    this.wait = FIRST_WAIT;
    this.change("open");
    this.listeners.welcome(message, resumed);
  }

  closed(event) {
    this.socket = null;
    if (event.code >= REFUSALS && event.code < 4900) {
      const said = this.refusal ?? { code: "closed", message: event.reason || "The server ended the connection." };
      this.change("refused", said);
    } else if (this.session) {
      this.broke();
    } else {
      this.change("lost", { message: "The server cannot be reached. Is it running?" });
    }
  }

  /** Try again and again, with longer waits, until the server has surely forgotten the stream. */
  broke() {
    this.brokeAt ??= Date.now();
    if (Date.now() - this.brokeAt > GIVE_UP_AFTER) {
      this.session = null;
      this.change("lost", { message: "The connection broke and did not come back." });
      return;
    }
    this.change("reconnecting");
    this.wait = Math.min(2 * (this.wait ?? FIRST_WAIT), LONGEST_WAIT);
    this.timer = setTimeout(() => this.connect("reconnecting"), this.wait);
  }

  retry() {
    if (this.state !== "reconnecting" || this.socket) return;
    clearTimeout(this.timer);
    this.connect("reconnecting");
  }

  /** A connection can die without a word: when nothing comes although music should, take it up anew. */
  watch() {
    if (this.state !== "open" || !this.expecting || Date.now() - this.heardAt < SILENCE_ALLOWED) return;
    this.drop();
    this.broke();
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  change(state, detail = null) {
    this.state = state;
    this.listeners.state(state, detail);
  }
}
