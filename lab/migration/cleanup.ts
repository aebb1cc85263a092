/** What is undone at the end, in reverse order, whatever fails meanwhile, and for no longer than its time. */

import { setTimeout as sleep } from 'node:timers/promises'

const STEP_MS = 5_000

export class Cleanup {
  readonly #steps: (() => Promise<unknown>)[] = []
  #undone: Promise<void> = Promise.resolve()
  #closed = false

  /** Nothing more is to be begun. */
  get closed(): boolean {
    return this.#closed
  }

  add(step: () => Promise<unknown>): void {
    this.#steps.push(step)
  }

  /** One at a time: whoever asks meanwhile waits for the same steps. */
  run(): Promise<void> {
    this.#undone = this.#undone.then(() => this.#undo())
    return this.#undone
  }

  /** For good. */
  close(): Promise<void> {
    this.#closed = true
    return this.run()
  }

  async #undo(): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      // What has ended already, after Ctrl-C for example, needs no more. The rest ends with this process.
      await Promise.race([step().catch(() => {}), sleep(STEP_MS)])
    }
  }
}
