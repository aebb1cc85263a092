/** What is undone at the end, in reverse order, whatever fails meanwhile, and for no longer than its time. */

import { setTimeout as sleep } from 'node:timers/promises'

const STEP_MS = 5_000

export class Cleanup {
  readonly #steps: (() => Promise<unknown>)[] = []

  add(step: () => Promise<unknown>): void {
    this.#steps.push(step)
  }

  async run(): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      // What has ended already, after Ctrl-C for example, needs no more. The rest ends with this process.
      await Promise.race([step().catch(() => {}), sleep(STEP_MS, undefined, { ref: false })])
    }
  }
}
