/**
 * Who in a VM is at the other end of a stream of ours: the filters whose indev reads what our outdev writes, or whose
 * outdev writes what our indev reads, found by where their chardevs listen or connect to.
 *
 *     chardevs.ts   where a chardev is, and whether that is the other end
 *     filters.ts    the filters and their properties
 *     deafness.ts   those that do not hear us
 *     headers.ts    those that read or write other headers than we do
 */

import { resolve } from 'node:path'
import { argumentsOf, workingDirectoryOf } from '../host/processes.ts'
import type { Monitor } from '../monitor/index.ts'
import type { StreamAddress } from '../stream/address.ts'
import { type ChardevInfo, placeOfChardev, type SocketPlace, sameSocket } from './chardevs.ts'
import { chardevPath } from './command-line.ts'
import { type FilterType, listFilters, type NetFilter } from './filters.ts'

export type StreamRole = 'indev' | 'outdev'

/** Our end of the stream. */
export interface OwnEnd {
  readonly role: StreamRole
  readonly address: StreamAddress
  readonly server: boolean
}

/** A filter at the other end, whether it is switched on or not. */
export interface OppositeFilter {
  readonly filter: NetFilter
  readonly netdev: string
  /** The label of its chardev at our stream. */
  readonly chardev: string
  /** Whether QEMU listens to that chardev: tells something of an indev only. */
  readonly listens: boolean
}

/** By our role: which of their ends is the opposite one, and which filters have such an end. */
const OPPOSITES: Readonly<Record<StreamRole, { end: StreamRole; types: readonly FilterType[] }>> = {
  indev: { end: 'outdev', types: ['filter-mirror', 'filter-redirector'] },
  outdev: { end: 'indev', types: ['filter-redirector'] },
}

export class OtherEnd {
  readonly #monitor: Monitor
  readonly #own: OwnEnd
  /** By label: where a chardev was seen, for when QEMU has forgotten it. */
  readonly #seen = new Map<string, SocketPlace>()

  constructor(monitor: Monitor, own: OwnEnd) {
    this.#monitor = monitor
    this.#own = own
  }

  /** Rejects with what Monitor.command rejects with. */
  async filters(): Promise<OppositeFilter[]> {
    const { end, types } = OPPOSITES[this.#own.role]
    const chardevs = await this.#oppositeChardevs()
    if (chardevs.length === 0) return []
    const filters = await listFilters(this.#monitor, types)
    return filters.flatMap(filter => {
      const chardev = chardevs.find(({ label }) => label === filter.properties[end])
      const netdev = String(filter.properties['netdev'])
      return chardev === undefined
        ? []
        : [{ filter, netdev, chardev: chardev.label, listens: chardev['frontend-open'] }]
    })
  }

  /** The labels of the chardevs, wherever they are, that QEMU listens to at this moment. */
  async listening(): Promise<ReadonlySet<string>> {
    const open = (await this.#chardevs()).filter(chardev => chardev['frontend-open'])
    return new Set(open.map(({ label }) => label))
  }

  async #oppositeChardevs(): Promise<ChardevInfo[]> {
    const chardevs = await this.#chardevs()
    const found = await Promise.all(
      chardevs.map(async chardev => ((await this.#isOpposite(chardev)) ? [chardev] : [])),
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

  async #isOpposite({ label, filename }: ChardevInfo): Promise<boolean> {
    const place = this.#seen.get(label) ?? placeOfChardev(filename)
    if (place === undefined || place.server === this.#own.server) return false
    const address = place.address === 'forgotten' ? await this.#startedWith(label) : place.address
    return address !== undefined && sameSocket(this.#own.address, address, path => this.#filesAt(path))
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
}
