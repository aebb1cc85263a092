/** The TLS credentials of a command line, and which of them a chardev names. Pure. */

import { didYouMean } from '../options/closest.ts'
import type { ChardevStream } from './chardev.ts'
import { invalid } from './failures.ts'
import type { QemuObject, StreamFilter, TlsCredentials } from './object.ts'

export class Credentials {
  readonly #objects: readonly QemuObject[]
  readonly #areAll: boolean
  readonly #used = new Set<TlsCredentials>()

  /** `areAll`: no object was refused, which might be the one that is missing. */
  constructor(objects: readonly QemuObject[], areAll: boolean) {
    this.#objects = objects
    this.#areAll = areAll
  }

  /** The directory for a filter's stream; undefined: it is plain. Throws QEMU_OPTION_INVALID, with QEMU's words. */
  directoryFor(filter: StreamFilter, { tlsCreds, server }: ChardevStream): string | undefined {
    if (tlsCreds === undefined) return undefined
    const endpoint = server ? 'server' : 'client'
    const found = this.#objects.find(({ id }) => id === tlsCreds)
    if (found === undefined) {
      if (!this.#areAll) return undefined
      const ids = this.#objects.filter(({ kind }) => kind === 'tls-creds').map(({ id }) => id)
      throw invalid(
        filter.subject,
        `No TLS credentials with id '${tlsCreds}'`,
        didYouMean(tlsCreds, ids) ??
          `add --object tls-creds-x509,id=${tlsCreds},dir=DIR,endpoint=${endpoint}`,
      )
    }
    if (found.kind !== 'tls-creds') {
      throw invalid(
        filter.subject,
        `Object with id '${tlsCreds}' is not TLS credentials`,
        `it is ${found.subject}: give tls-creds= the id of a tls-creds-x509`,
      )
    }
    if (found.endpoint !== endpoint) {
      throw invalid(
        filter.subject,
        `Expected TLS credentials for ${endpoint} endpoint`,
        `write ${found.subject} with endpoint=${endpoint}, or one more for it`,
      )
    }
    this.#used.add(found)
    return found.dir
  }

  get unused(): TlsCredentials[] {
    return this.#objects.filter(object => object.kind === 'tls-creds').filter(each => !this.#used.has(each))
  }
}
