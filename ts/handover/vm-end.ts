/**
 * Whether a VM has ended, once its monitor is lost: a connection may be lost for other reasons. Where its process
 * cannot be told, a monitor that is not there again after a while decides.
 */

import { startTimeOf } from '../host/processes.ts'

/** Between two looks at its process. */
const LOOK_MS = 20
/** For how long a monitor may be lost, of a VM whose process is not to be seen. */
const PATIENCE_MS = 3_000

export class VmEnd {
  readonly #pid: number | undefined
  readonly #onEnd: () => void
  #startTime: string | undefined
  #timer: NodeJS.Timeout | undefined

  static async of(pid: number | undefined, onEnd: () => void): Promise<VmEnd> {
    const end = new VmEnd(pid, onEnd)
    if (pid !== undefined) end.#startTime = await startTimeOf(pid)
    return end
  }

  private constructor(pid: number | undefined, onEnd: () => void) {
    this.#pid = pid
    this.#onEnd = onEnd
  }

  monitorLost(): void {
    this.close()
    if (this.#pid === undefined) this.#timer = setTimeout(this.#onEnd, PATIENCE_MS)
    else void this.#look(this.#pid)
  }

  monitorRegained(): void {
    this.close()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  async #look(pid: number): Promise<void> {
    const next = setTimeout(() => void this.#look(pid), LOOK_MS)
    this.#timer = next
    if ((await startTimeOf(pid)) === this.#startTime || this.#timer !== next) return
    this.close()
    this.#onEnd()
  }
}
