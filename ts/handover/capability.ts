/**
 * The migration capability `events`, without which a VM does not tell of its migration (QEMU's
 * migrate-set-capabilities). It is switched on where it is off, and off again at the end.
 */

import { TapferryError } from '../errors.ts'
import type { Monitor } from '../monitor/index.ts'

export class MigrationEvents {
  readonly #monitor: Monitor
  #wasOff = false

  constructor(monitor: Monitor) {
    this.#monitor = monitor
  }

  /** Rejects with VM_NO_MIGRATION_EVENTS: a VM that migrates at this moment takes no change. */
  async switchOn(): Promise<void> {
    type Capability = { capability: string; state: boolean }
    const capabilities = await this.#monitor.command<Capability[]>('query-migrate-capabilities')
    if (capabilities.some(({ capability, state }) => capability === 'events' && state)) return
    try {
      await this.#set(true)
    } catch (error) {
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
    if (!this.#wasOff || !this.#monitor.connected) return
    this.#wasOff = false
    await this.#set(false).catch(() => {})
  }

  async #set(state: boolean): Promise<void> {
    const capabilities = [{ capability: 'events', state }]
    await this.#monitor.command('migrate-set-capabilities', { capabilities })
  }
}
