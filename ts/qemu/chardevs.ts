/** The chardevs of a command line, and which filter uses which. Pure. */

import { closest } from '../options/closest.ts'
import type { Chardev, ChardevStream } from './chardev.ts'
import { invalid, refuseTwins } from './failures.ts'
import type { StreamFilter } from './object.ts'

export class Chardevs {
  readonly #byId: ReadonlyMap<string, Chardev>
  readonly #users = new Map<string, StreamFilter>()
  readonly #listeners = new Map<string, Chardev>()

  constructor(chardevs: readonly Chardev[]) {
    refuseTwins('chardev', chardevs)
    this.#byId = new Map(chardevs.map(chardev => [chardev.id, chardev]))
  }

  /** Throws QEMU_OPTION_INVALID where there is none that is free, and what its stream throws. */
  use(id: string, filter: StreamFilter): ChardevStream {
    const chardev = this.#byId.get(id)
    if (chardev === undefined) {
      const [similar] = closest(id, [...this.#byId.keys()])
      const hint =
        similar === undefined ? `add --chardev socket,id=${id},path=PATH` : `did you mean ${similar}?`
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
    const listener = stream.server ? this.#listeners.get(stream.address) : undefined
    if (listener !== undefined) {
      throw invalid(
        chardev.subject,
        `server=on, and ${listener.subject} listens there already`,
        'make one of them a client: leave out server',
      )
    }
    if (stream.server) this.#listeners.set(stream.address, chardev)
    return stream
  }

  get unused(): Chardev[] {
    return [...this.#byId.values()].filter(({ id }) => !this.#users.has(id))
  }
}
