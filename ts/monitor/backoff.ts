/** Pauses between attempts to connect: exponential, bounded, with jitter that spreads many watchers. Pure. */

const FIRST_MS = 100
const MAX_MS = 5_000

/** A connection that lasted this long was a good one: the next pause is short again. */
export const SETTLED_MS = MAX_MS

export class Backoff {
  #nextMs = FIRST_MS

  /** Milliseconds to wait now: between half and all of 100, 200, 400, ... 5000. */
  next(random: number = Math.random()): number {
    const pause = this.#nextMs
    this.#nextMs = Math.min(pause * 2, MAX_MS)
    return pause * (0.5 + random / 2)
  }

  reset(): void {
    this.#nextMs = FIRST_MS
  }
}
