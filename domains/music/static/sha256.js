// SHA-256 of 32-bit words that come one at a time, without allocation after construction, so that the audio
// thread can digest what it plays. FIPS 180-4.

const FRACTIONS = roundConstants();

/** First 32 bits of the fractional parts of the cube roots of the first 64 primes, and of the square roots of
 * the first 8. */
function roundConstants() {
  const cubes = [], squares = [];
  for (let candidate = 2; cubes.length < 64; candidate += 1) {
    let prime = true;
    for (let divisor = 2; divisor * divisor <= candidate; divisor += 1) {
      if (candidate % divisor === 0) prime = false;
    }
    if (!prime) continue;
    cubes.push(fraction(candidate, 3n));
    if (squares.length < 8) squares.push(fraction(candidate, 2n));
  }
  return { cubes: Int32Array.from(cubes), squares: Int32Array.from(squares) };
}

/** floor(2^32 * root(n)) mod 2^32, exact: the largest integer whose power is at most n * 2^(32 * degree). */
function fraction(n, degree) {
  const target = BigInt(n) << (32n * degree);
  let low = 0n, high = 1n << 40n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** degree <= target) low = middle;
    else high = middle;
  }
  return Number(low & 0xffffffffn) | 0;
}

export class Sha256 {
  constructor() {
    this.state = Int32Array.from(FRACTIONS.squares);
    this.kept = new Int32Array(8);
    this.block = new Int32Array(16);
    this.pending = new Int32Array(16);
    this.schedule = new Int32Array(64);
    this.words = 0;
  }

  restart() {
    this.state.set(FRACTIONS.squares);
    this.words = 0;
  }

  /** Add a word, its most significant byte first. */
  push(word) {
    this.block[this.words % 16] = word;
    this.words += 1;
    if (this.words % 16 === 0) this.compress();
  }

  /** Write the digest of all words so far into eight unsigned words; more can follow. */
  digestInto(target) {
    const state = this.state, block = this.block, words = this.words;
    this.kept.set(state);
    this.pending.set(block);
    const pending = words % 16;
    block.fill(0, pending);
    block[pending] = 0x80000000 | 0;
    if (pending >= 14) {
      this.compress();
      block.fill(0);
    }
    const bits = words * 32;
    block[14] = Math.floor(bits / 4294967296) | 0;
    block[15] = bits | 0;
    this.compress();
    for (let place = 0; place < 8; place += 1) target[place] = state[place];
    state.set(this.kept);
    block.set(this.pending);
  }

  compress() {
    const schedule = this.schedule, state = this.state, constants = FRACTIONS.cubes;
    for (let place = 0; place < 16; place += 1) schedule[place] = this.block[place];
    for (let place = 16; place < 64; place += 1) {
      const early = schedule[place - 15], late = schedule[place - 2];
      const first = ((early >>> 7) | (early << 25)) ^ ((early >>> 18) | (early << 14)) ^ (early >>> 3);
      const second = ((late >>> 17) | (late << 15)) ^ ((late >>> 19) | (late << 13)) ^ (late >>> 10);
      schedule[place] = (schedule[place - 16] + first + schedule[place - 7] + second) | 0;
    }
    let a = state[0], b = state[1], c = state[2], d = state[3];
    let e = state[4], f = state[5], g = state[6], h = state[7];
    for (let place = 0; place < 64; place += 1) {
      const upper = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const one = (h + upper + ((e & f) ^ (~e & g)) + constants[place] + schedule[place]) | 0;
      const lower = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const two = (lower + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
    }
    state[0] = (state[0] + a) | 0; state[1] = (state[1] + b) | 0;
    state[2] = (state[2] + c) | 0; state[3] = (state[3] + d) | 0;
    state[4] = (state[4] + e) | 0; state[5] = (state[5] + f) | 0;
    state[6] = (state[6] + g) | 0; state[7] = (state[7] + h) | 0;
  }
}

/** Eight words as hexadecimal digits. */
export function hexadecimal(words) {
  return Array.from(words, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}
