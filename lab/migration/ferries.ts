/** tapferry on both hosts, as users start it, for one migration. */

import { rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Finished, Running, TAPFERRY } from '../../test/support/cli.ts'
import type { Vm } from '../../test/support/vm.ts'
import type { HandoverReport } from '../../ts/handover/report/shape.ts'
import type { Cleanup } from './cleanup.ts'
import type { Kill } from './kills.ts'
import { NICS } from './machine.ts'
import type { Host } from './network.ts'
import type { Variant } from './variants.ts'

const PORT = 4_445
/** Within this it must be armed, on a busy machine. */
const READY_MS = 60_000
/** Until the moment at which it is to be killed, which a migration brings about. */
const MOMENT_MS = 60_000
/** From the end of the migration: it waits for frames until the network has learned, and no longer. */
const END_MS = 60_000
/** Without the other side it has to find out that nothing more comes. */
const KILLED_OPTIONS = ['--resume-timeout=15s']

/** Of all privileges the one without which nothing works. */
const RAW_ALONE = ['bounding-set', 'inh-caps', 'ambient-caps'].map(set => `--${set}=-all,+net_raw`)

/** How it ended on one host. */
export interface Ferried {
  /** The exit status, or why there is none. */
  readonly status: number | string
  /** What --report wrote, if it did. */
  readonly report?: HandoverReport
  readonly stderr: string
  /** When: CLOCK_REALTIME, ms. */
  readonly endedAt: number
}

export type Side = 'source' | 'dest'

/** What each side is about. */
interface Place {
  readonly host: Host
  readonly vm: Vm
  readonly directory: string
  readonly variant: Variant
}

/** For both hosts, where they speak TLS. */
export const credentialsIn = (directory: string): string => join(directory, 'tls')

export class Ferry {
  readonly #running: Running
  readonly #report: string
  readonly #ended: Promise<Finished & { endedAt: number }>

  static source(place: Place, to: Host, cleanup: Cleanup): Ferry {
    return new Ferry('source', place, ['--to', address(to)], cleanup)
  }

  static destination(place: Place, cleanup: Cleanup): Ferry {
    return new Ferry('dest', place, ['--from', address(place.host)], cleanup)
  }

  private constructor(side: Side, place: Place, way: readonly string[], cleanup: Cleanup) {
    const { host, vm, directory, variant } = place
    const { killed, unprivileged, encrypted } = variant.course
    this.#report = join(directory, `${side}-report`)
    // Of the migration before, it would be taken for this one's.
    rmSync(this.#report, { force: true })
    const [monitor = ''] = vm.monitors
    const flag = side === 'source' ? '--in-netdev' : '--out-netdev'
    const args = [
      ...way,
      // Of a VM with several, all are meant.
      ...(host.taps.length > 1 ? [] : [flag, NICS[0].netdev]),
      ...['--qmp', monitor, '--report', this.#report, '--json'],
      ...(encrypted ? ['--tls-creds', credentialsIn(directory)] : ['--insecure']),
      ...(killed ? KILLED_OPTIONS : []),
    ]
    const before = unprivileged ? ['setpriv', ...RAW_ALONE, '--'] : []
    this.#running = new Running(host.lab.inside(...before, TAPFERRY, 'handover', side, ...args))
    this.#ended = this.#running.end().then(finished => ({ ...finished, endedAt: Date.now() }))
    // Whoever waits for its end is told.
    this.#ended.catch(() => {})
    cleanup.add(() => this.#running.stop('SIGKILL'))
  }

  /** A source is ready when the destination has answered, a destination when it listens. */
  async ready(): Promise<void> {
    await this.#running.line(/\bready\b/, READY_MS)
  }

  /** Also a source that still waits for its destination: the migration need not. */
  async armed(): Promise<void> {
    await this.#running.line(/\bready\b|waiting for the destination/, READY_MS)
  }

  /** Kills it with signal 9 at a moment, and resolves when that was: CLOCK_REALTIME, ms. */
  async kill({ line, afterMs }: Kill): Promise<number> {
    await this.#running.line(line, MOMENT_MS)
    await sleep(afterMs)
    this.#running.signal('SIGKILL')
    const { endedAt } = await this.#ended
    return endedAt
  }

  /** Waits until it has ended by itself. */
  async end(): Promise<Ferried> {
    const late = sleep(END_MS, undefined, { ref: false })
    const finished = await Promise.race([this.#ended, late])
    const { stderr } = this.#running
    if (finished === undefined) {
      await this.#running.stop('SIGKILL')
      return { status: `still ran after ${END_MS / 1000} s`, stderr, endedAt: Date.now() }
    }
    const { status, signal, endedAt } = finished
    const report = await readFile(this.#report, 'utf8').then(parsed, () => ({}))
    return { status: status ?? signal ?? 'unknown', stderr, endedAt, ...report }
  }
}

function address({ controlAddress }: Host): string {
  return `tcp:${controlAddress}:${PORT}`
}

function parsed(text: string): { report: HandoverReport } {
  return { report: JSON.parse(text) as HandoverReport }
}
