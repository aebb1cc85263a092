/**
 * The migration capability `events`, without which a VM does not tell of its migration (QEMU's
 * migrate-set-capabilities). It is switched on where it is off, and off again at the end.
 */

import { TapferryError } from '../errors.ts'
import type { Monitor } from '../monitor/index.ts'
import { CapabilityNote, setMigrationEvents } from './capability-leftovers.ts'

export class MigrationEvents {
  readonly #monitor: Monitor
  readonly #note = new CapabilityNote()
  #wasOff = false

  constructor(monitor: Monitor) {
    this.#monitor = monitor
  }

  /** Rejects with VM_NO_MIGRATION_EVENTS: a VM that migrates at this moment takes no change. */
  async switchOn(): Promise<void> {
    type Capability = { capability: string; state: boolean }
    const capabilities = await this.#monitor.command<Capability[]>('query-migrate-capabilities')
    if (capabilities.some(({ capability, state }) => capability === 'events' && state)) return
    // First: a kill may come at any moment.
    await this.#note.write(this.#monitor)
    try {
      await setMigrationEvents(this.#monitor, true)
    } catch (error) {
      await this.#note.remove({ isRestored: true })
      throw new TapferryError(
        'VM_NO_MIGRATION_EVENTS',
        `the VM cannot be made to tell of its migration: ${TapferryError.from(error).message}`,
        'start the handover before the migration; the capability `events` is set by migrate-set-capabilities',
        { cause: error },
      )
    }
    this.#wasOff = true
  }

  /** As it was; a VM that is gone has nothing to restore. */
  async restore(): Promise<void> {
    if (!this.#wasOff) return
    this.#wasOff = false
    const isRestored =
      this.#monitor.connected &&
      (await setMigrationEvents(this.#monitor, false).then(
        () => true,
        () => false,
      ))
    await this.#note.remove({ isRestored })
  }
}
