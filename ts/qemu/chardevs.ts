/** The chardevs of a command line, and which filter uses which. Pure. */

import { didYouMean } from '../options/closest.ts'
import type { Chardev, ChardevStream } from './chardev.ts'
import { invalid, refuseTwins } from './failures.ts'
import type { StreamFilter } from './object.ts'

export class Chardevs {
  readonly #byId: ReadonlyMap<string, Chardev>
  readonly #users = new Map<string, StreamFilter>()
  /** By address: who listens there, or has taken the descriptor. */
  readonly #owners = new Map<string, Chardev>()

  constructor(chardevs: readonly Chardev[]) {
    refuseTwins('chardev', chardevs)
    this.#byId = new Map(chardevs.map(chardev => [chardev.id, chardev]))
  }

  /** Throws QEMU_OPTION_INVALID where there is none that is free, and what its stream throws. */
  use(id: string, filter: StreamFilter): ChardevStream {
    const chardev = this.#byId.get(id)
    if (chardev === undefined) {
      const hint = didYouMean(id, [...this.#byId.keys()]) ?? `add --chardev socket,id=${id},path=PATH`
      throw invalid(filter.subject, `Device '${id}' not found`, hint)
    }
    const user = this.#users.get(id)
    if (user !== undefined) {
      throw invalid(
        filter.subject,
        `Device '${id}' is in use by ${user.subject}`,
        'give each its own chardev',
      )
    }
    this.#users.set(id, filter)
    const stream = chardev.stream()
    this.#claim(stream, chardev)
    return stream
  }

  /** Where a client connects to, others may connect as well. */
  #claim({ address, server }: ChardevStream, chardev: Chardev): void {
    if (!server && !address.startsWith('fd:')) return
    const owner = this.#owners.get(address)
    if (owner !== undefined) {
      throw invalid(
        chardev.subject,
        `${owner.subject} has ${address} already`,
        server
          ? 'of two ends one is the server: leave server=on out of the other'
          : 'hand over a socket for each',
      )
    }
    this.#owners.set(address, chardev)
  }

  get unused(): Chardev[] {
    return [...this.#byId.values()].filter(({ id }) => !this.#users.has(id))
  }
}
