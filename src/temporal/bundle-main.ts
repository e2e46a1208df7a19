/** Prints workflow code as one file: what `bundleApart` runs, with the path of the workflows. */
import { bundleWorkflows } from './workflow-bundle.ts';

const bundle = await bundleWorkflows(process.argv[2]);
process.stdout.write('code' in bundle ? bundle.code : '');
