/** What the TAPs have dropped, because QEMU did not read as fast as frames came: no switchover explains that. */

import type { Vm } from '../../test/support/vm.ts'
import type { Host } from './network.ts'
import { Watch } from './watch.ts'

/** Frames that found the queue of a TAP full while the guest ran. */
export interface Drops {
  /** Where it was, until it stopped. */
  readonly beforeStop: number
  /** Where it is, since it runs again. */
  readonly afterResume: number
}

/** A VM, and the host whose TAPs it has. */
export interface Place {
  readonly vm: Vm
  readonly host: Host
}

export class DropWatch {
  readonly #stays: Host
  readonly #beforeStop: Promise<number>
  readonly #untilResume: Promise<number>

  /** Begins to count. The guest stops at the one, and runs again at the other. */
  static async start(stops: Place, runs: Place): Promise<DropWatch> {
    return new DropWatch(stops, runs, await dropped(stops.host))
  }

  private constructor(stops: Place, runs: Place, before: number) {
    this.#stays = runs.host
    this.#beforeStop = new Watch(stops.vm, 'the guest')
      .change(false)
      .then(async () => (await dropped(stops.host)) - before)
    this.#untilResume = new Watch(runs.vm, 'the guest').change(true).then(() => dropped(runs.host))
    // They are awaited at the end; what fails until then is not to end the process.
    for (const count of [this.#beforeStop, this.#untilResume]) count.catch(() => {})
  }

  async end(): Promise<Drops> {
    const [beforeStop, untilResume, now] = await Promise.all([
      this.#beforeStop,
      this.#untilResume,
      dropped(this.#stays),
    ])
    return { beforeStop, afterResume: now - untilResume }
  }
}

async function dropped({ lab, taps }: Host): Promise<number> {
  const counters = await Promise.all(taps.map(netdev => lab.ask('counters', { netdev })))
  return counters.reduce((sum, { txDropped }) => sum + Number(txDropped), 0)
}
