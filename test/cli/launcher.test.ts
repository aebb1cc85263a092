import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { ROOT, records, run, TAPFERRY } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'

/** A copy of the package without its addon. */
async function copyWithoutAddon(directory: string): Promise<string> {
  await mkdir(join(directory, 'bin'))
  await mkdir(join(directory, 'dist'))
  await copyFile(TAPFERRY, join(directory, 'bin/tapferry'))
  await copyFile(join(ROOT, 'dist/main.mjs'), join(directory, 'dist/main.mjs'))
  return join(directory, 'bin/tapferry')
}

test('the launcher works through symlinks and from any directory', async t => {
  const directory = temporaryDirectory(t)
  await symlink(TAPFERRY, join(directory, 'first'))
  await symlink('first', join(directory, 'second'))
  await symlink(join(ROOT, 'bin'), join(directory, 'linked-bin'))
  for (const launcher of ['second', 'linked-bin/tapferry']) {
    const { status, stdout } = await run(join(directory, launcher), ['--version'], { cwd: directory })
    t.is(status, 0, launcher)
    t.regex(stdout, /^tapferry \d/)
  }
})

test('without a bundle the launcher says what to build', async t => {
  const directory = temporaryDirectory(t)
  await mkdir(join(directory, 'bin'))
  await copyFile(TAPFERRY, join(directory, 'bin/tapferry'))
  const { status, stderr } = await run(join(directory, 'bin/tapferry'), ['--version'])
  t.is(status, 1)
  t.regex(stderr, /dist\/main\.mjs is missing/)
  t.regex(stderr, /npm ci && npm run build/)
})

test('without an addon help works, and run names the triple, the package and the next step', async t => {
  const launcher = await copyWithoutAddon(temporaryDirectory(t))
  const help = await run(launcher, ['run', '--help'])
  t.is(help.status, 0)
  const { status, stdout, stderr } = await run(launcher, ['run', '--in-netdev=a', '--out-netdev=b', '--json'])
  t.is(status, 1)
  const triple = `linux-${process.arch}-(gnu|musl)`
  t.regex(
    stderr,
    new RegExp(`no native addon for ${triple}: package @tapferry/binding-${triple} is not installed`),
  )
  t.regex(stderr, /--omit=optional/)
  t.like(records(stdout)[0], { type: 'error', code: 'ADDON_MISSING', exit_status: 1 })
})

test('an addon that does not load is named with the reason', async t => {
  const directory = temporaryDirectory(t)
  const addon = join(directory, 'broken.node')
  await writeFile(addon, 'no ELF file')
  const { status, stderr } = await run(TAPFERRY, ['run', '--in-netdev=a', '--out-netdev=b'], {
    env: { NAPI_RS_NATIVE_LIBRARY_PATH: addon },
  })
  t.is(status, 1)
  t.regex(stderr, /the native addon .*broken\.node does not load on linux-/)
})
