/** The migrations of one variant: the guest boots once, and then goes to and fro. */

import type { GuestImage } from '../../test/support/vm.ts'
import type { Cleanup } from './cleanup.ts'
import { KILLS } from './kills.ts'
import { type Row, Scene } from './scene.ts'
import { starve } from './starve.ts'
import type { Variant } from './variants.ts'

export async function* rounds(
  image: GuestImage,
  variant: Variant,
  ferries: readonly boolean[],
  cleanup: Cleanup,
): AsyncGenerator<Row> {
  const scene = await Scene.open(image, variant, cleanup)
  if (variant.course.starved) starve(cleanup)
  for (let number = 0; number < variant.migrations; number += 1) {
    const kill = variant.course.killed ? KILLS[number % KILLS.length] : undefined
    for (const ferried of ferries) yield await scene.migrate(variant, ferried, kill)
  }
}
