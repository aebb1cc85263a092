/** What a VM's events have told of its migration, and waiting for more. */

import type { Vm } from '../../test/support/vm.ts'

/** Longer than any migration here takes, on a machine whose processors are taken by others too. */
const PATIENCE_MS = 60_000

export class Watch {
  /** QEMU's MigrationStatus, one after the other. */
  readonly statuses: string[] = []
  readonly #vm: Vm
  readonly #name: string
  readonly #seen: number
  readonly #checks = new Set<() => void>()

  /** `name` is for messages. */
  constructor(vm: Vm, name: string) {
    this.#vm = vm
    this.#name = name
    this.#seen = vm.changes.length
    vm.onEvent(event => {
      if (event.type === 'vm_event' && event.name === 'MIGRATION') {
        this.statuses.push((event.data as { status: string }).status)
      }
      for (const check of this.#checks) check()
    })
  }

  /** When the VM stopped or went on since this began, the last time; CLOCK_REALTIME, ns. */
  changedNs(running: boolean): bigint | undefined {
    return this.#vm.changes.slice(this.#seen).findLast(change => change.running === running)?.atNs
  }

  status(wanted: string): Promise<void> {
    return this.#until(() => this.statuses.includes(wanted), `is ${wanted}`)
  }

  async change(running: boolean): Promise<bigint> {
    await this.#until(() => this.changedNs(running) !== undefined, running ? 'runs' : 'stops')
    return this.changedNs(running) ?? 0n
  }

  #until(condition: () => boolean, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const told = () => `before ${this.#name} ${what}; it was ${this.statuses.join(', ')}`
      const settle = (end: () => void) => {
        clearTimeout(timer)
        this.#checks.delete(check)
        end()
      }
      const fail = (why: string) => settle(() => reject(new Error(`${why} ${told()}`)))
      const check = () => {
        if (condition()) settle(resolve)
        else if (this.statuses.includes('failed')) fail('the migration failed')
      }
      const timer = setTimeout(() => fail('time is over'), PATIENCE_MS)
      this.#checks.add(check)
      this.#vm.ended.then(() => this.#checks.has(check) && fail('QEMU ended'))
      check()
    })
  }
}
