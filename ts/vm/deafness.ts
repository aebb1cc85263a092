/**
 * A QEMU filter-redirector up to 10.0 is deaf once the peer of its indev has left: it lets go of the chardev, which
 * goes on listening or connecting, so a peer that comes back is welcomed and never heard. query-chardev shows it:
 * `frontend-open` is false. The filter made anew (object-del, object-add) hears, from the first byte that waits in
 * the socket, and starts between two records. (An outdev of QEMU's needs no help: its writer looks at each frame.)
 *
 * Measured on QEMU 7.2, for unix and TCP, server and client. Only a filter-redirector whose indev is the other end
 * of our stream and which is deaf is touched: one that hears may be within a record. Nor one that is switched off.
 */

import { resolve } from 'node:path'
import { TapferryError } from '../errors.ts'
import { argumentsOf, workingDirectoryOf } from '../host/processes.ts'
import type { Monitor } from '../monitor/index.ts'
import type { StreamAddress } from '../stream/address.ts'
import { type ChardevInfo, placeOfChardev, type SocketPlace, sameSocket } from './chardevs.ts'
import { chardevPath } from './command-line.ts'
import { filterOrder, listRedirectors, type NetFilter, sameAgain } from './filters.ts'

/** Our end of the stream. */
export interface OwnEnd {
  readonly address: StreamAddress
  readonly server: boolean
}

/** What became of a filter that was deaf. */
export interface Revival {
  readonly filter: string
  readonly chardev: string
  readonly netdev: string
  /** Absent: it hears again. */
  readonly failure?: TapferryError
}

export class DeafnessCure {
  readonly #monitor: Monitor
  readonly #end: OwnEnd
  /** By label: where a chardev was seen, for when QEMU has forgotten it. */
  readonly #seen = new Map<string, SocketPlace>()
  /** Looks come one after the other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(monitor: Monitor, end: OwnEnd) {
    this.#monitor = monitor
    this.#end = end
  }

  /** Makes what is deaf hear again. Rejects with what Monitor.command rejects with. */
  look(): Promise<Revival[]> {
    const look = this.#last.then(() => this.#look())
    this.#last = look.catch(() => {})
    return look
  }

  async #look(): Promise<Revival[]> {
    const deaf = await this.#deafChardevs()
    if (deaf.length === 0) return []
    const filters = (await listRedirectors(this.#monitor)).filter(
      ({ properties }) => properties['status'] === 'on' && deaf.includes(String(properties['indev'])),
    )
    const revivals: Revival[] = []
    for (const filter of filters) revivals.push(await this.#revive(filter))
    return revivals
  }

  /** The labels of the chardevs at our stream that nobody in QEMU listens to. */
  async #deafChardevs(): Promise<string[]> {
    const chardevs = await this.#chardevs()
    const found = await Promise.all(
      chardevs
        .filter(chardev => !chardev['frontend-open'])
        .map(async chardev => ((await this.#isOtherEnd(chardev)) ? [chardev.label] : [])),
    )
    return found.flat()
  }

  async #chardevs(): Promise<ChardevInfo[]> {
    const chardevs = await this.#monitor.command<ChardevInfo[]>('query-chardev')
    for (const { label, filename } of chardevs) {
      const place = placeOfChardev(filename)
      if (place === undefined) this.#seen.delete(label)
      else if (place.address !== 'forgotten') this.#seen.set(label, place)
    }
    return chardevs
  }

  async #isOtherEnd({ label, filename }: ChardevInfo): Promise<boolean> {
    const place = this.#seen.get(label) ?? placeOfChardev(filename)
    if (place === undefined || place.server === this.#end.server) return false
    const address = place.address === 'forgotten' ? await this.#startedWith(label) : place.address
    return address !== undefined && sameSocket(this.#end.address, address, path => this.#filesAt(path))
  }

  /** What the VM was started with for a chardev; undefined where that is not to be seen. */
  async #startedWith(label: string): Promise<StreamAddress | undefined> {
    const vm = await this.#monitor.process()
    const path = vm === undefined ? undefined : chardevPath(await argumentsOf(vm.pid), label)
    return path === undefined ? undefined : { kind: 'unix', path }
  }

  /** A path of the VM's is one of its directory and its file system. */
  async #filesAt(path: string): Promise<string[]> {
    const vm = await this.#monitor.process()
    if (vm === undefined) return [path]
    const place = resolve((await workingDirectoryOf(vm.pid)) ?? '/', path)
    return [`/proc/${vm.pid}/root${place}`, place]
  }

  async #revive(filter: NetFilter): Promise<Revival> {
    const { id, properties } = filter
    const [chardev, netdev] = [String(properties['indev']), String(properties['netdev'])]
    const about = { filter: id, chardev, netdev }
    const text = await this.#monitor.command<string>('human-monitor-command', {
      'command-line': 'info network',
    })
    const anew = sameAgain(filter, filterOrder(text, netdev))
    try {
      // At once behind each other, so that frames of the netdev miss it for as short as can be.
      await Promise.all([
        this.#monitor.command('object-del', { id }),
        this.#monitor.command('object-add', anew),
      ])
      const now = (await this.#chardevs()).find(({ label }) => label === chardev)
      return now?.['frontend-open'] ? about : { ...about, failure: stillDeaf(about) }
    } catch (error) {
      return { ...about, failure: refused(about, anew, error) }
    }
  }
}

type Deaf = Omit<Revival, 'failure'>

function stillDeaf({ filter, chardev }: Deaf): TapferryError {
  return new TapferryError(
    'FILTER_DEAF',
    `filter-redirector '${filter}' of the VM does not hear its indev '${chardev}', and making it anew did not help`,
    `look at it in the VM's monitor: query-chardev, qom-list /objects/${filter}`,
  )
}

function refused({ filter, chardev }: Deaf, anew: object, cause: unknown): TapferryError {
  return new TapferryError(
    'FILTER_DEAF',
    `filter-redirector '${filter}' of the VM does not hear its indev '${chardev}', and could not be made anew: ` +
      TapferryError.from(cause).message,
    `if it is gone, make it in the VM's monitor: object-add ${JSON.stringify(anew)}`,
    { cause },
  )
}
