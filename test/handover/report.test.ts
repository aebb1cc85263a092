/** `tapferry handover report`: which files it takes, and what it makes of them. */

import { readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { run, TAPFERRY } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { destinationNetdev, destinationReport, SAMPLES, sourceNetdev, sourceReport } from './samples.ts'

const source = sourceReport([sourceNetdev()])
const destination = destinationReport([destinationNetdev()])

/** A directory with reports in it, and the command run there. */
async function place(t: ExecutionContext, files: Record<string, unknown>) {
  const directory = temporaryDirectory(t)
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content))
  }
  return {
    directory,
    report: (...args: string[]) => run(TAPFERRY, ['handover', 'report', ...args], { cwd: directory }),
    read: (name: string) => readFile(join(directory, name), 'utf8'),
  }
}

test('two reports make one page, in whichever order they are given', async t => {
  const { report, read } = await place(t, { 'a.json': destination, 'b.json': source })
  const first = await report('a.json', 'b.json', '-o', 'page.html')
  t.deepEqual(first, { status: 0, signal: null, stdout: '', stderr: 'tapferry: wrote page.html\n' })
  const page = await read('page.html')
  t.regex(page, /<h1>0 frames lost: 717 carried over, in order, while the VM was stopped for 352 ms<\/h1>/)
  await report('b.json', 'a.json', '--output=page.html')
  t.is(await read('page.html'), page)
})

test('without -o the page is beside the first report', async t => {
  const { report, directory } = await place(t, { 'source.json': source, plain: destination })
  t.is((await report('source.json')).stderr, 'tapferry: wrote source.html\n')
  t.is((await report('plain')).stderr, 'tapferry: wrote plain.html\n')
  t.deepEqual((await readdir(directory)).sort(), ['plain', 'plain.html', 'source.html', 'source.json'])
})

test('-o - is stdout, and nothing else is said', async t => {
  const { report, directory } = await place(t, { 'source.json': source })
  const { status, stdout, stderr } = await report('source.json', '-o', '-')
  t.deepEqual({ status, stderr }, { status: 0, stderr: '' })
  t.regex(stdout, /^<!doctype html>.*<\/html>\n$/s)
  t.deepEqual(await readdir(directory), ['source.json'])
})

test('a link to a page stays a link', async t => {
  const { report, directory, read } = await place(t, { 'source.json': source, 'old.html': 'old' })
  await symlink('old.html', join(directory, 'latest.html'))
  await report('source.json', '-o', 'latest.html')
  t.regex(await read('old.html'), /^<!doctype html>/)
  t.deepEqual((await readdir(directory)).sort(), ['latest.html', 'old.html', 'source.json'])
})

test('a page that cannot be written leaves nothing behind', async t => {
  const { report, directory } = await place(t, { 'source.json': source })
  const missing = await report('source.json', '-o', 'nowhere/page.html')
  t.is(missing.status, 1)
  t.regex(missing.stderr, /'nowhere\/page.html' cannot be written: no such file or directory/)
  const taken = await report('source.json', '-o', '.')
  t.is(taken.status, 1)
  t.deepEqual(await readdir(directory), ['source.json'])
})

const { timeline: _, ...withoutTimeline } = sourceNetdev()

const refused: readonly (readonly [name: string, files: Record<string, unknown>, message: RegExp])[] = [
  ['no file at all', {}, /no report given/],
  ['three', { a: source, b: destination, c: source }, /3 reports given, at most two make a page/],
  ['an empty file', { a: '' }, /'a' is no report of a handover: it is empty/],
  ['a page', { a: '<!doctype html>' }, /'a' is no report of a handover: it is no JSON/],
  ['another kind of JSON', { a: { type: 'summary' } }, /its type is not 'handover_report'/],
  ['JSON that is no object', { a: '[1]' }, /its type is not 'handover_report'/],
  ['a version to come', { a: { ...source, version: 2 } }, /is a report of version 2; this tapferry reads 1/],
  ['no version', { a: { ...source, version: undefined } }, /is a report of version none/],
  ['a side that does not exist', { a: { ...source, side: 'middle' } }, /its side is neither/],
  ['no netdevs', { a: { ...source, netdevs: [] } }, /it has no netdevs/],
  ['a missing field', { a: { ...source, netdevs: [withoutTimeline] } }, /netdevs\[0\]\.timeline is missing/],
  [
    'a field of another type',
    { a: { ...source, netdevs: [{ ...sourceNetdev(), captured: '717' }] } },
    /netdevs\[0\]\.captured should be a count, not "717"/,
  ],
  [
    'a moment that is no moment',
    { a: { ...source, netdevs: [{ ...sourceNetdev(), stopped_ns: 1.5 }] } },
    /netdevs\[0\]\.stopped_ns should be a moment or null, not 1\.5/,
  ],
  ['two of one side', { a: source, b: source }, /'a' and 'b' are both of a source/],
  [
    'two VMs',
    {
      a: source,
      b: { ...destination, vm: { name: 'web-7', uuid: '00000000-3f0e-4f0a-9b4e-2f7d1c9a8e11' } },
    },
    /are of two VMs: 6c0f6a52-\S+ and 00000000-/,
  ],
  [
    'no netdev in common',
    { a: source, b: destinationReport([destinationNetdev({}, { mac: '52:54:00:00:00:01' })]) },
    /have no netdev in common/,
  ],
  [
    'two migrations of one VM',
    { a: source, b: destinationReport([destinationNetdev({}, { stopped_ns: '1763924587123456789' })]) },
    /are of two migrations: their stops are 86400 s apart/,
  ],
]

for (const [name, files, message] of refused) {
  test(`refused with status 2: ${name}`, async t => {
    const { report, directory } = await place(t, files)
    const { status, stdout, stderr } = await report(...Object.keys(files))
    t.regex(stderr, message)
    t.is(status, 2)
    t.is(stdout, '')
    t.deepEqual((await readdir(directory)).sort(), Object.keys(files))
  })
}

test('a report is never overwritten by its page', async t => {
  const { report, read } = await place(t, { 'source.json': source })
  const { status, stderr } = await report('source.json', '-o', 'source.json')
  t.is(status, 2)
  t.regex(stderr, /'source.json' is one of the reports/)
  t.deepEqual(JSON.parse(await read('source.json')), source)
})

test('a file that is not there is told by its name', async t => {
  const { report } = await place(t, {})
  const { status, stderr } = await report('source.json')
  t.is(status, 2)
  t.regex(
    stderr,
    /'source.json' cannot be read: no such file or directory\n {2}give what .* wrote with --report/,
  )
})

test('a field more, of a tapferry to come, does no harm', async t => {
  const { report } = await place(t, { 'a.json': { ...source, weather: 'fine' } })
  t.is((await report('a.json')).status, 0)
})

test('every sample makes a page', async t => {
  for (const sample of Object.values(SAMPLES)) {
    const { report } = await place(t, sample as Record<string, unknown>)
    t.is((await report(...Object.keys(sample), '-o', 'page.html')).status, 0)
  }
})

test('half a command is told the other half', async t => {
  const half = await run(TAPFERRY, ['handover'])
  t.is(half.status, 2)
  t.regex(half.stderr, /'handover' is not all of a command\n.*handover report/)
  const wrong = await run(TAPFERRY, ['handover', 'repot'])
  t.is(wrong.status, 2)
  t.regex(wrong.stderr, /unknown command 'handover repot'\n.*did you mean 'tapferry handover report'\?/)
})
