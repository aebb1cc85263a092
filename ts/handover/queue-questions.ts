/**
 * Where the memory of the VM's process cannot be read: its monitor is asked how far the guest's receive queue is, over and
 * over while it migrates, one question at a time, and once more when it has stopped. That answer comes when the VM's state
 * has left, and ends the questions.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { HandoverSource } from '../binding.ts'
import type { Monitor } from '../monitor/index.ts'
import { usedIndex } from '../vm/receive-queue.ts'

/** Between an answer and the next question: each takes the VM some microseconds of its main loop. */
const PAUSE_MS = 50
/** As long as any downtime; the core waits no longer than it has to. */
const ANSWER_MS = 600_000

export class QueueQuestions {
  readonly #monitor: Monitor
  readonly #device: string
  readonly #handle: HandoverSource
  readonly #stopped = new AbortController()
  #isOver = false

  /** Begins to ask. `device`: see ReceiveQueue. */
  constructor(monitor: Monitor, device: string, handle: HandoverSource) {
    this.#monitor = monitor
    this.#device = device
    this.#handle = handle
    void this.#ask()
  }

  /** To be called when the core has been told. */
  vmStopped(): void {
    this.#stopped.abort()
  }

  end(): void {
    this.#isOver = true
    this.#stopped.abort()
  }

  async #ask(): Promise<void> {
    const { signal } = this.#stopped
    while (!this.#isOver) {
      const isLast = signal.aborted
      const used = await usedIndex(this.#monitor, this.#device, ANSWER_MS).catch(() => undefined)
      if (this.#isOver) return
      this.#handle.usedIndex(used, isLast)
      if (isLast) return
      await sleep(PAUSE_MS, undefined, { signal }).catch(() => {})
    }
  }
}
