/** tapferry on both hosts, as users start it, for one migration. */

import { rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Running, TAPFERRY } from '../../test/support/cli.ts'
import type { Vm } from '../../test/support/vm.ts'
import type { Cleanup } from './cleanup.ts'
import { NETDEV } from './machine.ts'
import type { Host } from './network.ts'

const PORT = 4_445
/** From the end of the migration: it waits for frames until the network has learned, and no longer. */
const END_MS = 20_000

/** How it ended on one host. */
export interface Ferried {
  /** The exit status, or why there is none. */
  readonly status: number | string
  /** What --report wrote, if it did. */
  readonly report?: unknown
  readonly stderr: string
}

type Side = 'source' | 'dest'

export class Ferry {
  readonly #running: Running
  readonly #report: string

  static source(host: Host, to: Host, vm: Vm, directory: string, cleanup: Cleanup): Ferry {
    return new Ferry('source', host, vm, ['--in-netdev', NETDEV, '--to', address(to)], directory, cleanup)
  }

  static destination(host: Host, vm: Vm, directory: string, cleanup: Cleanup): Ferry {
    return new Ferry('dest', host, vm, ['--out-netdev', NETDEV, '--from', address(host)], directory, cleanup)
  }

  private constructor(
    side: Side,
    { lab }: Host,
    vm: Vm,
    args: readonly string[],
    directory: string,
    cleanup: Cleanup,
  ) {
    this.#report = join(directory, `${side}-report`)
    // Of the migration before, it would be taken for this one's.
    rmSync(this.#report, { force: true })
    const [monitor = ''] = vm.monitors
    const common = ['--qmp', monitor, '--insecure', '--report', this.#report]
    this.#running = new Running(lab.inside(TAPFERRY, 'handover', side, ...args, ...common))
    cleanup.add(() => this.#running.stop('SIGKILL'))
  }

  async ready(): Promise<void> {
    await this.#running.ready()
  }

  /** Waits until it has ended by itself. */
  async end(): Promise<Ferried> {
    const late = sleep(END_MS, undefined, { ref: false })
    const finished = await Promise.race([this.#running.end(), late])
    const { stderr } = this.#running
    if (finished === undefined) {
      await this.#running.stop('SIGKILL')
      return { status: `still ran after ${END_MS / 1000} s`, stderr }
    }
    const report = await readFile(this.#report, 'utf8').then(parsed, () => ({}))
    return { status: finished.status ?? finished.signal ?? 'unknown', stderr, ...report }
  }
}

function address({ controlAddress }: Host): string {
  return `tcp:${controlAddress}:${PORT}`
}

function parsed(text: string): { report: unknown } {
  return { report: JSON.parse(text) }
}
